import type { Condition } from "../../../lib/diffusion/condition";
import { combine, guidedPrediction } from "../../../lib/diffusion/guidance";
import { Random } from "../../../lib/runtime/random";
import { relativeError } from "../../support/compare";
import { loadGolden, type GoldenModel } from "../../support/golden-model";

describe("guidedPrediction", () => {
  let golden: GoldenModel;
  let text: Condition;
  let negative: Condition;
  const latents = new Random(1).normal([2, 4, 16, 16]);
  const timesteps = [700, 20];
  const batch = { latents, timesteps };

  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
    text = await golden.model.condition(["church", "a photo"]);
    negative = await golden.model.condition(["", ""]);
  });
  afterAll(() => golden.dispose());

  it("is ε_u + w (ε_c - ε_u), of predictions made one by one, within 5e-5, since a scale of 7.5 multiplies roundings", async () => {
    const { unet } = golden.model;
    const conditional = await unet.forward(latents, timesteps, text.context);
    const unconditional = await unet.forward(latents, timesteps, negative.context);
    for (const guidanceScale of [0, 0.5, 7.5]) {
      const expected = unconditional.mul(1 - guidanceScale).add(conditional.mul(guidanceScale));
      const actual = await guidedPrediction(golden.model, batch, { text, negative, guidanceScale });
      expect(await relativeError(actual, expected)).toBeLessThan(5e-5);
    }
  });

  it("is the conditional prediction itself without a negative prompt", async () => {
    const { unet } = golden.model;
    const actual = await guidedPrediction(golden.model, batch, { text, negative: null, guidanceScale: 1 });
    expect(await relativeError(actual, await unet.forward(latents, timesteps, text.context))).toBe(0);
  });

  it("shows a learned prompt to the conditional half, or to both, one for all or one for each item", async () => {
    const { unet } = golden.model;
    const prompts = new Random(9).normal([2, 3, 32]);
    for (const prompt of [prompts, prompts.slice(0, 0, 1).squeeze(0)]) {
      const injection = { prompt, mechanism: "concat", layers: "all" } as const;
      const conditional = await unet.forward(latents, timesteps, text.context, injection);
      const condition = { text, negative, guidanceScale: 3, injection };
      for (const [injectNegative, other] of [
        [false, await unet.forward(latents, timesteps, negative.context)],
        [true, await unet.forward(latents, timesteps, negative.context, injection)],
      ] as const) {
        const actual = await guidedPrediction(golden.model, batch, { ...condition, injectNegative });
        expect(await relativeError(actual, combine(other, conditional, 3))).toBeLessThan(5e-5);
      }
      const [one, both] = [false, true].map((injectNegative) =>
        guidedPrediction(golden.model, batch, { ...condition, injectNegative }),
      );
      expect(await relativeError(await one!, await both!)).toBeGreaterThan(1e-3);
    }
  });

  it("computes in the model's dtype, and answers in float32", async () => {
    const { unet } = golden.model;
    const condition = { text, negative, guidanceScale: 3 };
    const expected = await guidedPrediction(golden.model, batch, condition);
    const actual = await guidedPrediction({ unet, dtype: "bfloat16" }, batch, condition);
    expect(actual.dtype).toBe("float32");
    const error = await relativeError(actual, expected);
    expect(error).toBeGreaterThan(1e-4);
    expect(error).toBeLessThan(0.1);
  });
});
