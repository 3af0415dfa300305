import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { withLock } from "../lib/internal";
import { CASES } from "./plan";
import { protocolNamed } from "./protocols";
import type { Settings, TrialRecord, TrialSpec } from "./results";
import type { Command, RunnerOptions, Trial } from "./runner";
import { balance, erasing, preserving } from "./statistics";
import { Store } from "./store";

/** What the process of one trial of the comparison is told. */
export interface Assignment {
  directory: string;
  settings: Settings;
  spec: TrialSpec;
}

/** Measures one trial to its end, in a process of its own. */
export async function measureTrial({ directory, settings, spec }: Assignment): Promise<TrialRecord> {
  const started = performance.now();
  const work = new Store(directory).workFolder(spec);
  const shared = join(directory, "shared");
  for (const folder of [work, shared]) mkdirSync(folder, { recursive: true });
  const protocol = protocolNamed(settings.protocol);
  const log = (sentence: string): void => console.error(sentence);
  const outcome = await CASES[spec.experiment].measure({ spec, settings, protocol, shared, work, log });
  const wallSeconds = (performance.now() - started) / 1000;
  return { spec, ...outcome, wallSeconds, finishedAt: new Date().toISOString() };
}

/** What a trial's record comes from, and where it is kept. */
export interface TrialKeeping extends Pick<RunnerOptions, "say" | "signal"> {
  settings: Settings;
  store: Store;
  own(this: void, assignment: Assignment): Command;
}

/**
 * The trial for the runner: its record is kept in the store, and taken from there. Of several processes one measures it,
 * and the others wait for it, or take its place when it dies.
 */
export function storedTrial(
  spec: TrialSpec,
  { settings, store, own, say, signal }: TrialKeeping,
): Trial<TrialRecord> {
  return {
    name: spec.name,
    finished: () => store.read(spec, say),
    run: (start) =>
      withLock(
        store.lockPath(spec),
        async () => {
          const found = store.read(spec, say);
          if (found !== null) return found;
          const record = await start<TrialRecord>(own({ directory: store.directory, settings, spec }));
          store.write(record);
          return record;
        },
        { signal, onWait: (holder) => say(`${spec.name} is measured by ${holder}: waiting for it`) },
      ),
    describe,
  };
}

function describe({ counts }: TrialRecord): string {
  if (counts === undefined) return "";
  const [esr, psr] = [erasing(counts, 1), preserving(counts, 1)];
  const parts = [
    ...(esr === null ? [] : [`ESR-1 ${esr.value.toFixed(1)}`]),
    ...(psr === null ? [] : [`PSR-1 ${psr.value.toFixed(1)}`]),
    ...(esr === null || psr === null ? [] : [`mean ${balance(counts).toFixed(1)}`]),
  ];
  return parts.join(", ");
}
