import { Tensor } from "../../lib/runtime/tensor";
import { countEvaluations } from "../../lib/training/evaluations";
import { Job, type JobSettings } from "../../lib/training/job";
import type { PrepareReport, StepReport } from "../../lib/training/step-report";

/** What is otherwise than in a run of five iterations without a checkpoint. */
export interface Setting {
  iterations?: number;
  directory?: string;
  every?: number;
  resume?: boolean;
  signal?: AbortSignal;
  device?: string;
  identity?: string;
  onStep?: (report: StepReport) => void;
  onPrepare?: (report: PrepareReport) => void;
  /** The loss of an iteration. Default 0.5. */
  step?: (iteration: number) => number | Tensor | null | Promise<number | Tensor | null>;
}

/** A job with a checkpoint where a directory is given. */
export function job({ directory, every = 2, identity = "print", ...more }: Setting = {}): Job {
  const settings: JobSettings = {
    seed: 0,
    signal: more.signal,
    onStep: more.onStep,
    onPrepare: more.onPrepare,
    checkpoint: directory === undefined ? undefined : { directory, every },
    resume: more.resume ?? false,
    device: more.device ?? "cpu",
    dtype: "float32",
    identity: () => Promise.resolve(identity),
  };
  return new Job(settings);
}

/** A run whose only weight is the sum of 1 + i over the iterations done; preparing makes two things. */
export function training(setting: Setting = {}) {
  const reports: StepReport[] = [];
  const onStep = (report: StepReport): void => {
    reports.push(report);
    setting.onStep?.(report);
  };
  const run = job({ ...setting, onStep });
  const sum = Tensor.zeros([]);
  const made: Tensor[] = [];
  let prepared = 0;
  let closed = 0;
  const { iterations = 5, step } = setting;
  const done = run.run(async () => {
    run.part("sum", {
      tensors: () => new Map([["sum", sum]]),
      numbers: () => 7,
      restore: (numbers) => expect(numbers).toBe(7),
      prepare: async () => {
        const started = performance.now();
        for (const part of [1, 2]) {
          countEvaluations(10);
          prepared += 1;
          await run.prepared("thing", part, 2, started);
        }
      },
      close: async () => void (closed += 1),
    });
    await run.iterate(iterations, async (i) => {
      const erase = (await step?.(i)) ?? 0.5;
      countEvaluations(3);
      made.push(Tensor.zeros([1]));
      await sum.copyFrom(sum.add(1 + i));
      return { erase };
    });
  });
  return { done, run, sum, made, reports, prepared: () => prepared, closed: () => closed };
}
export const losses = (reports: readonly StepReport[]): unknown =>
  reports.map(({ iteration, losses: values }) => [iteration, values]);
export const aborted = { name: "KpopError", code: "ABORTED" };
export const stateIn = (directory: string): string => `${directory}/kpop-state.safetensors`;
