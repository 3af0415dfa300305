import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { KpopError } from "../lib/index";
import type { Settings, TrialRecord, TrialSpec } from "./results";

const SETTINGS_FILE = "settings.json";

/** The folder of one run: settings.json, a file for each finished trial, and what unfinished ones go on from. */
export class Store {
  constructor(readonly directory: string) {}

  /**
   * Opens a folder, or makes it.
   * @param notice told of a damaged file, which is set aside, never removed
   * @throws INVALID_ARGUMENT when the folder holds a run with other settings
   */
  static open(directory: string, settings: Settings, notice: (sentence: string) => void): Store {
    const store = new Store(directory);
    mkdirSync(store.trialsFolder, { recursive: true });
    const path = join(directory, SETTINGS_FILE);
    const kept = readJson(path, notice) as Settings | null;
    if (kept === null) writeAtomically(path, `${JSON.stringify(settings, null, 2)}\n`);
    else store.checkSame(kept, settings);
    return store;
  }

  /** Whether a folder holds a run. */
  static isAt(directory: string): boolean {
    return existsSync(join(directory, SETTINGS_FILE));
  }

  private get trialsFolder(): string {
    return join(this.directory, "trials");
  }

  private checkSame(kept: Settings, now: Settings): void {
    const different = (Object.keys(now) as (keyof Settings)[]).filter(
      // Which trials run may change from call to call; what they measure may not.
      (name) => name !== "methods" && name !== "experiments" && !isDeepStrictEqual(kept[name], now[name]),
    );
    if (different.length === 0) return;
    const changes = different
      .map((name) => `${name} was ${JSON.stringify(kept[name])} and is now ${JSON.stringify(now[name])}`)
      .join("; ");
    throw new KpopError(
      "INVALID_ARGUMENT",
      `${this.directory} holds a run with other settings (${changes}); give the same ones to go on, or another folder with --out`,
    );
  }

  path(name: string): string {
    return join(this.trialsFolder, `${name}.json`);
  }

  /** Where a trial keeps what it needs to go on after an interruption; another trial of that name has another folder. */
  workFolder(spec: TrialSpec): string {
    const hash = createHash("sha256").update(JSON.stringify(spec)).digest("hex").slice(0, 8);
    return join(this.directory, "work", `${spec.name}-${hash}`);
  }

  /** Held by the process that measures a trial. */
  lockPath(spec: TrialSpec): string {
    return `${this.workFolder(spec)}.lock`;
  }

  /** A finished trial; null when there is none, or it was another one under the same name. */
  read(spec: TrialSpec, notice: (sentence: string) => void): TrialRecord | null {
    const record = readJson(this.path(spec.name), notice) as TrialRecord | null;
    return record !== null && isDeepStrictEqual(record.spec, spec) ? record : null;
  }

  write(record: TrialRecord): void {
    writeAtomically(this.path(record.spec.name), `${JSON.stringify(record)}\n`);
    rmSync(this.workFolder(record.spec), { recursive: true, force: true });
  }
}

/** Null when the file is missing or damaged; a damaged one gets another name, so that nothing is lost. */
function readJson(path: string, notice: (sentence: string) => void): unknown {
  if (!existsSync(path)) return null;
  try {
    return JSON.parse(readFileSync(path, "utf8")) as unknown;
  } catch (error) {
    const aside = `${path}.damaged-${randomBytes(3).toString("hex")}`;
    renameSync(path, aside);
    notice(`${path} is damaged (${(error as Error).message}); it is kept as ${aside} and made again`);
    return null;
  }
}

/** Leaves the old file or the whole new one, never a part. */
export function writeAtomically(path: string, content: string): void {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    writeFileSync(temporary, content, { flush: true });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
