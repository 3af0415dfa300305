import { type Random, Tensor } from "../../lib/index";
import { directions, project } from "./ball";
import { draw, type Digits } from "./dataset";
import { noised } from "./diffusion";
import { WIDTH, type DigitModel } from "./model";
import { train } from "./train";

/** How hard the search for embeddings is. */
export interface AttackOptions {
  /** Largest Euclidean distances from the class's own embedding. */
  radii: readonly number[];
  /** Embeddings for each radius. */
  embeddings: number;
  steps: number;
  /** Pictures for each embedding and step. */
  batch: number;
  random: Random;
}

/** Rate of a step in the unit ball, in which every radius is searched alike. */
const LEARNING_RATE = 0.03;

/** Embeddings around a class's own, (radii × embeddings, 32), those of the first radius first. */
export interface Embeddings {
  /** Drawn uniformly at each radius: the control, and where the search begins. */
  random: Tensor;
  /** Found within each radius. */
  adversarial: Tensor;
}

/**
 * Looks for embeddings that bring a class back: each minimises the textual-inversion loss (arXiv 2208.01618, eq. 2) on
 * pictures of the class, weights frozen, and is put back into its ball after every update.
 */
export async function attack(
  model: DigitModel,
  digits: Digits,
  digit: number,
  { radii, embeddings, steps, batch, random }: AttackOptions,
): Promise<Embeddings> {
  const count = radii.length * embeddings;
  const places = digits.placesOf(digit);
  const centre = model.embed(Array<number>(count).fill(digit));
  const radius = Tensor.from(radii.flatMap((one) => Array<number>(embeddings).fill(one)), [count, 1]); // prettier-ignore
  const owners = Array.from({ length: count * batch }, (_, item) => Math.floor(item / batch));
  const owner = Tensor.from(owners, [owners.length], { dtype: "int64" });
  const start = directions(count, WIDTH, random.at("directions"));
  const offsets = start.clone(); // (count, 32), within the unit ball
  await train([offsets], {
    steps,
    learningRate: LEARNING_RATE,
    async loss(step) {
      const source = random.at("step", step);
      const { pictures, noise, timesteps } = noised(
        digits.pictures(draw(places, owners.length, source)),
        source,
      );
      const context = centre.add(offsets.mul(radius)).indexSelect(0, owner);
      return (await model.predict(pictures, timesteps, context, { grad: true })).mse(noise);
    },
    updated: async () => offsets.copyFrom(project(offsets.detach(), 1)),
  });
  return { random: centre.add(start.mul(radius)), adversarial: centre.add(offsets.mul(radius)) };
}
