import { KpopError, throwIfAborted } from "../errors";
import { scope } from "../runtime/scope";
import type { EvaluationCounter } from "./evaluations";
import type { RunState, TrainingState } from "./run-state";
import type { StepReport } from "./step-report";

/** What the loop needs of a run; an erasure's context has it. */
export interface TrainingContext {
  readonly runState: RunState;
  readonly evaluations: EvaluationCounter;
  readonly signal: AbortSignal | undefined;
}

export interface Training {
  iterations: number;
  state: TrainingState;
  /** One iteration, 0 first; its losses. */
  step(iteration: number): Promise<Record<string, number>>;
}

/**
 * Runs a gradient method: restores a saved state, then iterates, reports, and saves. The signal is looked at between
 * iterations, where the state is whole, so an aborted run can be resumed.
 * @throws NUMERIC_FAILURE when a loss is no number any more; the state saved before stays
 */
export async function* trainingLoop(
  context: TrainingContext,
  training: Training,
): AsyncGenerator<StepReport> {
  const { runState, evaluations, signal } = context;
  const { iterations, state } = training;
  const restored = await runState.restore(state);
  const history: StepReport[] = restored?.history ?? [];
  if (restored !== null) evaluations.total = restored.evaluations;
  yield* history;
  const spent = restored?.seconds ?? 0;
  const begin = performance.now();
  const seconds = (): number => spent + (performance.now() - begin) / 1000;
  const save = (iteration: number): Promise<void> =>
    runState.save(state, { iteration, seconds: seconds(), evaluations: evaluations.total, history });

  const first = restored?.iteration ?? 0;
  let saved = first;
  for (let done = first; done < iterations;) {
    if (signal?.aborted) {
      if (saved !== done) await save(done);
      throwIfAborted(signal);
    }
    const losses = await scope(() => training.step(done));
    done += 1;
    checkFinite(losses, done, runState.path);
    const elapsed = seconds();
    const report: StepReport = {
      iteration: done,
      iterations,
      losses,
      seconds: elapsed,
      etaSeconds: ((elapsed - spent) / (done - first)) * (iterations - done),
    };
    history.push(report);
    if (runState.due(done) || (done === iterations && runState.path !== undefined)) {
      await save(done);
      saved = done;
    }
    yield report;
  }
}

function checkFinite(losses: Record<string, number>, iteration: number, path: string | undefined): void {
  for (const [name, value] of Object.entries(losses)) {
    if (Number.isFinite(value)) continue;
    const kept =
      path === undefined
        ? "give a checkpoint directory to keep intermediate states"
        : `the state saved before is in ${path}`;
    throw new KpopError(
      "NUMERIC_FAILURE",
      `The loss "${name}" became ${value} at iteration ${iteration}: lower the learning rates; ${kept}`,
    );
  }
}
