import type { Random } from "../../lib/index";
import { draw, type Digits } from "./dataset";
import { noised } from "./diffusion";
import { DigitModel, NO_CLASS } from "./model";
import { train } from "./train";

const BATCH = 64;
/** Share of pictures that are learned without their class, for what is drawn when none is given (arXiv 2207.12598). */
const WITHOUT_CLASS = 0.1;

/** θ_pre and the classes' embeddings, trained on all digits to predict the noise. */
export async function pretrain(digits: Digits, steps: number, random: Random): Promise<DigitModel> {
  const model = await DigitModel.create(random.at("first"));
  const places = digits.labels.map((_, place) => place);
  await train([...model.weights().values(), model.embeddings], {
    steps,
    learningRate: 2e-3,
    async loss(step) {
      const source = random.at("step", step);
      const chosen = draw(places, BATCH, source);
      const { pictures, noise, timesteps } = noised(digits.pictures(chosen), source);
      const classes = chosen.map((place, item) =>
        source.at("class", item).uniform() < WITHOUT_CLASS ? NO_CLASS : digits.labels[place]!,
      );
      const predicted = await model.predict(pictures, timesteps, model.embed(classes), { grad: true });
      return predicted.mse(noise);
    },
  });
  return model;
}
