import type { Condition } from "../../diffusion/condition";
import { KpopError } from "../../errors";
import { integer, number } from "../../options/kinds";
import type { Complete } from "../../options/option";
import { noGrad } from "../../runtime/grad-mode";
import type { Random } from "../../runtime/random";
import { scope } from "../../runtime/scope";
import type { Tensor } from "../../runtime/tensor";
import { lossScale } from "../../training/loss-scale";
import type { ErasureRun } from "../parts";
import type { LatentBatch } from "./latent-source";

/** Options of a search around a text's token states. */
export function embeddingAttack() {
  return {
    /** How far each number of a token state may be moved. >= 0, default 0.1. */
    radius: number(0.1, "how far each number of a token state may be moved", { from: 0 }),
    /** Steps of the search, each a forward and a backward pass. Default 10. */
    attackSteps: integer(10, "steps of the search for an adversarial embedding", { from: 1 }),
    /** Length of a step, in radii. > 0, default a quarter. */
    attackStep: number(0.25, "length of a step of that search, in radii", { above: 0 }),
  };
}

/** Token states that bring a text's pictures back, and the loss under them before the last step. */
export interface AdversarialEmbedding {
  readonly condition: Condition;
  readonly loss: Tensor;
}

/** Times this a gradient is 0 or beyond ±1: float32's range begins at its inverse. */
const HUGE = 1e38;

/**
 * Token states around a text's, c + δ with |δ| ≤ r, under which the student predicts the noise that z_t's trajectory began
 * with: projected descent by the gradient's sign (PGD, Madry et al., arXiv 1706.06083) on ‖n − ε_θ'(z_t, t, c + δ)‖², at z_t
 * alone and not along a trajectory (RACE, arXiv 2405.16341). It begins at a uniform δ. No number leaves the range of the
 * text's own. A pooled text stays what it is. Called where the weights ask for no gradients: before an update, not within.
 *
 * @param around c, one text for each item, (B, L, d)
 * @returns a condition without a graph
 * @throws INVALID_ARGUMENT where the batch does not say what its trajectories began with
 */
export async function adversarialEmbedding(
  { student, random }: Pick<ErasureRun, "student" | "random">,
  iteration: number,
  batch: LatentBatch,
  around: Condition,
  { radius, attackSteps, attackStep }: Complete<ReturnType<typeof embeddingAttack>>,
): Promise<AdversarialEmbedding> {
  const noise = firstNoise(batch);
  const { pooled } = around;
  const centre = around.context.to("float32");
  const [lowest, highest] = [centre.amin([1, 2], true), centre.amax([1, 2], true)]; // (B, 1, 1)
  const within = (states: Tensor): Tensor =>
    noGrad(() => centre.add(states.sub(centre).clamp(-radius, radius)).maximum(lowest).minimum(highest));

  const first = uniform(random.at("attack", iteration), centre.shape).mul(2).sub(1).mul(radius);
  let found = within(centre.add(first.to({ device: centre.device })));
  let loss: Tensor | undefined;
  for (let step = 0; step < attackSteps; step++) {
    [found, loss] = await scope(async () => {
      const leaf = await found.clone().requireGrad();
      const context = leaf.to(around.context.dtype);
      const error = (await student.predict(batch, { context, pooled }, { grad: true })).mse(noise);
      // Its sign alone is read.
      await error.mul(lossScale(student.dtype)).backward([leaf]);
      const gradient = leaf.grad!;
      const sign = gradient.mul(HUGE).clamp(-1, 1);
      const next = within(leaf.detach().sub(sign.mul(attackStep * radius)));
      return [await next.settled(), await error.detach().settled()];
    });
  }
  return { condition: { context: found.to(around.context.dtype), pooled }, loss: loss! };
}

/** What a batch's trajectories began with. @throws INVALID_ARGUMENT where the batch does not say */
export function firstNoise({ noise }: LatentBatch): Tensor {
  if (noise !== undefined) return noise;
  throw new KpopError(
    "INVALID_ARGUMENT",
    "Expected custom latents to come with the noise that their trajectories began with, which the search for an adversarial embedding needs, but they have none",
  );
}

/** Uniform in (0, 1]: exp(-(a² + b²) / 2) of normal a and b, the other way round of Box and Muller's (1958). */
function uniform(random: Random, shape: readonly number[]): Tensor {
  const squares = random
    .normal([2, ...shape])
    .square()
    .sum(0);
  return squares.div(-2).exp();
}
