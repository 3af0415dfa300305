import { Random, scope } from "../../../../lib/index";
import { attack } from "../../../../bench/digits/attack";
import { readDigits } from "../../../../bench/digits/dataset";
import { fineTune, learnMore, negate } from "../../../../bench/digits/erase";
import { DigitModel } from "../../../../bench/digits/model";

const NAME = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_v.weight";
const { train } = readDigits();
const read = async (model: DigitModel): Promise<number[]> =>
  Array.from(await model.unet.parameter(NAME).data(), Number);

/** A new model begins as one that predicts nothing, whose gradients are zero. */
async function stirred(seed: number): Promise<DigitModel> {
  const random = new Random(seed);
  const model = await DigitModel.create(random);
  for (const [name, weight] of model.weights())
    await weight.copyFrom(weight.add(random.at(name).normal(weight.shape).mul(0.1)));
  return model;
}

describe("erasing a digit", () => {
  const options = { steps: 2, learningRate: 1e-2, random: new Random(1) };

  it.each([
    ["fine-tuning", fineTune],
    ["learning more", learnMore],
  ])("by %s trains a copy and leaves the model as it was", (_name, method) =>
    scope(async () => {
      const model = await stirred(0);
      const before = await read(model);
      const embeddings = Array.from(await model.embeddings.data(), Number);
      const edited = await method(model, train, 3, options);
      expect(await read(model)).toEqual(before);
      expect(await read(edited)).not.toEqual(before);
      expect(Array.from(await edited.embeddings.data(), Number)).toEqual(embeddings);
    }),
  );

  it("by a negated task vector goes as far to the other side as the strength says", () =>
    scope(async () => {
      const [pre, tuned] = await Promise.all([0, 1].map(stirred));
      const [a, b] = [await read(pre!), await read(tuned!)];
      const edited = await read(await negate(pre!, tuned!, 1.5));
      edited.forEach((value, place) =>
        expect(value).toBeCloseTo(a[place]! - 1.5 * (b[place]! - a[place]!), 5),
      );
      expect(await read(pre!)).toEqual(a);
    }));
});

describe("the attack", () => {
  it("begins at each radius and stays within it", () =>
    scope(async () => {
      const model = await stirred(0);
      const radii = [0.5, 4];
      const found = await attack(model, train, 3, {
        radii,
        embeddings: 2,
        steps: 3,
        batch: 2,
        random: new Random(2),
      });
      const centre = Array.from(await model.embed([3]).data(), Number);
      const distances = async (rows: Float32Array): Promise<number[]> =>
        [0, 1, 2, 3].map((row) =>
          Math.hypot(...centre.map((value, column) => rows[32 * row + column]! - value)),
        );
      const start = await distances((await found.random.data()) as Float32Array);
      const end = await distances((await found.adversarial.data()) as Float32Array);
      [0.5, 0.5, 4, 4].forEach((radius, row) => {
        expect(start[row]).toBeCloseTo(radius, 4);
        expect(end[row]).toBeLessThan(radius * (1 + 1e-5));
      });
      expect(end).not.toEqual(start);
    }));
});
