import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { CASES } from "./plan";
import { protocolNamed } from "./protocols";
import type { Settings, TrialRecord, TrialSpec } from "./results";
import type { Command, Trial } from "./runner";
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

/** The trial for the runner: its record is kept in the store, and taken from there. */
export function storedTrial(
  spec: TrialSpec,
  settings: Settings,
  store: Store,
  own: (assignment: Assignment) => Command,
  say: (sentence: string) => void,
): Trial<TrialRecord> {
  return {
    name: spec.name,
    finished: () => store.read(spec, say),
    async run(start) {
      const record = await start<TrialRecord>(own({ directory: store.directory, settings, spec }));
      store.write(record);
      return record;
    },
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
