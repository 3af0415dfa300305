import type { TrainingState } from "../../training/run-state";
import { trainingLoop, type TrainingContext } from "../../training/training-loop";
import type { StepReport } from "../method";

/** What a method holds between iterations. */
export interface MethodRun extends TrainingState {
  /** One iteration, 0 first; its losses. */
  step(iteration: number): Promise<Record<string, number>>;
  /** Leaves the result in its place, after the last iteration. */
  finish?(): void | Promise<void>;
  /** Frees what is left, however the run ended. */
  close(): void | Promise<void>;
}

/** Runs a method in the training loop, from what it holds to its end. */
export async function* runMethod(
  context: TrainingContext,
  iterations: number,
  made: Promise<MethodRun>,
): AsyncGenerator<StepReport> {
  const run = await made;
  try {
    yield* trainingLoop(context, { iterations, state: run, step: (iteration) => run.step(iteration) });
    await run.finish?.();
  } finally {
    await run.close();
  }
}
