import { join } from "node:path";
import { tell } from "../check";
import { digest } from "../diffusion/identity";
import type { Complete, OptionSet } from "../options/option";
import { partOf, type Shard } from "../options/shard";
import type { ParsedRunOptions } from "../training/run-options";
import type { StepReport } from "../training/step-report";
import type { AttackInput } from "./input";
import { AttackJob, type AttackParts } from "./job";
import type { AttackMethod } from "./method";

/** What an attack searches with. */
export interface SearchSettings {
  readonly run: ParsedRunOptions;
  readonly shard: Shard | undefined;
  /** All that the result depends on; asked where a state is kept. */
  readonly identity: () => Promise<Readonly<Record<string, unknown>>>;
  /** Told of what each search has found, which the caller frees. */
  onFound(inputs: readonly AttackInput[]): void;
}

/** What searches have spent and told. */
export interface Searched {
  unetEvaluations: number;
  history: StepReport[];
}

/** An attack's searches, or a shard's part of them: each is a run of its own, with a state of its own. */
export async function search(
  method: AttackMethod,
  own: Complete<OptionSet>,
  parts: Omit<AttackParts, "target">,
  { run, shard, identity, onFound }: SearchSettings,
): Promise<Searched> {
  const count = method.targets?.(own, parts.images.length) ?? 1;
  const targets = partOf(
    shard,
    Array.from({ length: count }, (_, target) => target),
  );
  const searched: Searched = { unetEvaluations: 0, history: [] };
  for (const [place, target] of targets.entries()) {
    const before = searched.history.at(-1)?.seconds ?? 0;
    const { checkpoint } = run;
    const job = new AttackJob(
      { ...parts, target },
      {
        ...run,
        checkpoint:
          checkpoint === undefined || method.targets === undefined
            ? checkpoint
            : { ...checkpoint, directory: join(checkpoint.directory, `target-${target}`) },
        identity: async () =>
          digest(method.targets === undefined ? await identity() : { ...(await identity()), target }),
        // eslint-disable-next-line @typescript-eslint/no-misused-promises -- a job waits for its listener
        onStep: (report) => tell(run.onStep, among(report, { place, of: targets.length, before })),
      },
    );
    onFound(await job.run(() => method.run(job, own)));
    searched.unetEvaluations += job.evaluations.total;
    searched.history.push(
      ...job.history.map((report) => among(report, { place, of: targets.length, before })),
    );
  }
  return searched;
}

/** A step of one search as one of all, which are of the same length. */
function among(
  report: StepReport,
  { place, of, before }: { place: number; of: number; before: number },
): StepReport {
  const { iteration, iterations, seconds, etaSeconds } = report;
  return {
    ...report,
    iteration: place * iterations + iteration,
    iterations: of * iterations,
    seconds: before + seconds,
    etaSeconds: etaSeconds + (of - place - 1) * (seconds + etaSeconds),
  };
}

/** Asks once. */
export function remembered<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}
