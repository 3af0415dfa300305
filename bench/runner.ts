import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Settings, TrialRecord, TrialSpec } from "./results";
import { balance, erasing, preserving } from "./statistics";
import type { Store } from "./store";
import type { Assignment } from "./worker";

/** How trials are run. */
export interface RunnerOptions {
  /** The program to start with `--trial ASSIGNMENT`. */
  program: string;
  /** Trials at a time; the processor's cores are divided among them. */
  jobs: number;
  signal: AbortSignal;
  /** Trials of the whole run that are still to come after these. */
  later: number;
  say(sentence: string): void;
}

export interface RunnerResult {
  records: TrialRecord[];
  failures: { name: string; message: string }[];
}

/**
 * Runs the trials that are not finished yet, each in a process of its own, several at a time. A trial that fails does not
 * stop the others.
 */
export async function runTrials(
  specs: readonly TrialSpec[],
  settings: Settings,
  store: Store,
  options: RunnerOptions,
): Promise<RunnerResult> {
  const { say, signal, jobs } = options;
  const finished = new Map<string, TrialRecord>();
  for (const spec of specs) {
    const record = store.read(spec, say);
    if (record !== null) finished.set(spec.name, record);
  }
  const waiting = specs.filter(({ name }) => !finished.has(name));
  if (finished.size > 0) say(`${finished.size} of ${specs.length} trials are finished already`);
  const failures: RunnerResult["failures"] = [];
  const started = performance.now();
  let done = 0;

  const worker = async (): Promise<void> => {
    for (let spec = waiting.shift(); spec !== undefined && !signal.aborted; spec = waiting.shift()) {
      const message = await runOne({ directory: store.directory, settings, spec }, options);
      if (signal.aborted) return;
      done += 1;
      const record = message === null ? store.read(spec, say) : null;
      if (record === null) {
        failures.push({ name: spec.name, message: message ?? "it left no result" });
        say(`FAILED ${spec.name}: ${message ?? "it left no result"}`);
        continue;
      }
      finished.set(spec.name, record);
      const left = specs.length - finished.size - failures.length + options.later;
      const eta = (((performance.now() - started) / 1000 / done) * left) / 60;
      const place = `${finished.size + failures.length}/${specs.length + options.later}`;
      say(
        `${place.padStart(7)}  ${spec.name.padEnd(28)} ${record.wallSeconds.toFixed(0).padStart(4)} s  ${summary(record)}` +
          (left > 0 ? `  about ${Math.ceil(eta)} min left` : ""),
      );
    }
  };
  await Promise.all(Array.from({ length: jobs }, worker));
  return { records: specs.flatMap(({ name }) => finished.get(name) ?? []), failures };
}

/** @returns null when it succeeded, else what it said last */
function runOne(assignment: Assignment, { program, jobs, signal }: RunnerOptions): Promise<string | null> {
  const logs = join(assignment.directory, "logs");
  mkdirSync(logs, { recursive: true });
  const log = join(logs, `${assignment.spec.name}.log`);
  const output = openSync(log, "w");
  const threads = String(Math.max(1, Math.floor(availableParallelism() / jobs)));
  const child = spawn(process.execPath, [program, "--trial", JSON.stringify(assignment)], {
    stdio: ["ignore", output, output],
    env: { OMP_NUM_THREADS: threads, ...process.env },
  });
  closeSync(output);
  const stop = (): void => void child.kill("SIGTERM");
  signal.addEventListener("abort", stop);
  return ended(child)
    .then((failure) => (failure === null ? null : `${lastLine(log) ?? failure} (see ${log})`))
    .finally(() => signal.removeEventListener("abort", stop));
}

function ended(child: ChildProcess): Promise<string | null> {
  return new Promise((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) =>
      resolve(code === 0 ? null : `it ended with ${signal ?? `exit code ${code}`}`),
    );
  });
}

function lastLine(path: string): string | null {
  return readFileSync(path, "utf8").trim().split("\n").at(-1) || null;
}

function summary({ counts }: TrialRecord): string {
  if (counts === undefined) return "";
  const [esr, psr] = [erasing(counts, 1), preserving(counts, 1)];
  const parts = [
    ...(esr === null ? [] : [`ESR-1 ${esr.value.toFixed(1)}`]),
    ...(psr === null ? [] : [`PSR-1 ${psr.value.toFixed(1)}`]),
    ...(esr === null || psr === null ? [] : [`mean ${balance(counts).toFixed(1)}`]),
  ];
  return parts.join(", ");
}
