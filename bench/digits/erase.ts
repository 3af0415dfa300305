import { type Random, scope, Tensor } from "../../lib/index";
import { draw, type Digits } from "./dataset";
import { noised } from "./diffusion";
import { NO_CLASS, type DigitModel } from "./model";
import { train } from "./train";

const BATCH = 32;

/** How an erasure trains. */
export interface TrainingOptions {
  steps: number;
  learningRate: number;
  random: Random;
}

/**
 * Erases a class at its own embedding. Half of a batch learns the teacher's prediction away from the class,
 * ε(∅) − (ε(c) − ε(∅)), as ESD does (arXiv 2303.07345, eq. 7, η = 1), on noisy pictures of all digits; the other half
 * keeps the teacher's prediction for the other classes, without which they go with it. All weights of the UNet are trained.
 */
export async function fineTune(
  teacher: DigitModel,
  digits: Digits,
  digit: number,
  { steps, learningRate, random }: TrainingOptions,
): Promise<DigitModel> {
  const student = await teacher.copy();
  const all = digits.labels.map((_, place) => place);
  const others = all.filter((place) => digits.labels[place] !== digit);
  const half = BATCH / 2;
  const erased = Array<number>(half).fill(digit);
  const unnamed = teacher.embed(erased.map(() => NO_CLASS));
  await train([...student.weights().values()], {
    steps,
    learningRate,
    async loss(step) {
      const source = random.at("step", step);
      const keep = draw(others, half, source.at("others"));
      const chosen = [...draw(all, half, source), ...keep];
      const { pictures, timesteps } = noised(digits.pictures(chosen), source);
      const classes = teacher.embed([...erased, ...keep.map((place) => digits.labels[place]!)]);
      const usual = await teacher.predict(pictures, timesteps, classes);
      const plain = await teacher.predict(pictures.slice(0, 0, half), timesteps.slice(0, half), unnamed);
      const away = plain.mul(2).sub(usual.slice(0, 0, half));
      const target = Tensor.cat([away, usual.slice(0, half)]);
      return (await student.predict(pictures, timesteps, classes, { grad: true })).mse(target);
    },
  });
  return student;
}

/** θ_ft of a task vector: the model trained on, with pictures of the class under its own embedding. */
export async function learnMore(
  model: DigitModel,
  digits: Digits,
  digit: number,
  { steps, learningRate, random }: TrainingOptions,
): Promise<DigitModel> {
  const student = await model.copy();
  const places = digits.placesOf(digit);
  const named = model.embed(Array<number>(BATCH).fill(digit));
  await train([...student.weights().values()], {
    steps,
    learningRate,
    async loss(step) {
      const source = random.at("step", step);
      const { pictures, noise, timesteps } = noised(digits.pictures(draw(places, BATCH, source)), source);
      return (await student.predict(pictures, timesteps, named, { grad: true })).mse(noise);
    },
  });
  return student;
}

/** θ_pre − α (θ_ft − θ_pre) (arXiv 2404.03631). */
export async function negate(before: DigitModel, after: DigitModel, alpha: number): Promise<DigitModel> {
  const edited = await before.copy();
  const tuned = after.weights();
  await scope(async () => {
    for (const [name, weight] of edited.weights())
      await weight.copyFrom(weight.mul(1 + alpha).sub(tuned.get(name)!.mul(alpha)));
  });
  return edited;
}
