import { digest } from "../diffusion/image-set-identity";
import { RunState } from "../training/run-state";
import { trainingLoop, type Training } from "../training/training-loop";
import type { AttackContext } from "./method";

/**
 * Runs an attack's own iterations: resumable, reported, stopped by the signal.
 * @param options of the attack: with the model and the pictures, what a saved state is of
 * @throws ABORTED, NUMERIC_FAILURE, and what `RunState.restore` throws
 */
export async function searchLoop(
  { job, evaluations, identity, report }: AttackContext,
  options: object,
  training: Training,
): Promise<void> {
  // What is not kept need not be told from others.
  const fingerprint = job.checkpoint === undefined ? "" : digest([await identity(), options]);
  const runState = new RunState(job.checkpoint, job.resume, fingerprint);
  const context = { evaluations, signal: job.signal, runState };
  for await (const step of trainingLoop(context, training)) await report(step);
}
