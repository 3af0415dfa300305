import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { CASES } from "./plan";
import { protocolNamed } from "./protocols";
import type { Settings, TrialSpec } from "./results";
import { Store } from "./store";

/** What a trial's process is told. */
export interface Assignment {
  directory: string;
  settings: Settings;
  spec: TrialSpec;
}

/** Runs one trial to its end and writes its file. Runs in a process of its own. */
export async function runTrial({ directory, settings, spec }: Assignment): Promise<void> {
  const started = performance.now();
  const store = new Store(directory);
  const work = store.workFolder(spec);
  const shared = join(directory, "shared");
  for (const folder of [work, shared]) mkdirSync(folder, { recursive: true });
  const protocol = protocolNamed(settings.protocol);
  const log = (sentence: string): void => console.error(sentence);
  const outcome = await CASES[spec.experiment].measure({ spec, settings, protocol, shared, work, log });
  const wallSeconds = (performance.now() - started) / 1000;
  store.write({ spec, ...outcome, wallSeconds, finishedAt: new Date().toISOString() });
}
