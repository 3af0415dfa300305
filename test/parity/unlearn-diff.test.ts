import { readFileSync } from "node:fs";
import { join } from "node:path";
import { tokenGradient } from "../../lib/attack/token-gradient";
import { addNoise } from "../../lib/diffusion/noisy-latents";
import { Random } from "../../lib/runtime/random";
import { Tensor } from "../../lib/runtime/tensor";
import { relativeError } from "../support/compare";
import { loadGolden, type GoldenModel } from "../support/golden-model";

// The reference is diffusers and transformers in float32; the error is relative to the largest element.
const OUTPUT = 2e-5;
const GRADIENT = 1e-4;

interface Reference {
  loss: number;
  gradient: number[];
  sum: number[];
  squares: number[];
}
const expected = JSON.parse(
  readFileSync(join(__dirname, "..", "fixtures", "attack", "reference.json"), "utf8"),
) as { ids: number[]; prompt: string; timestep: number; stride: number } & Record<
  "small" | "wide",
  Reference
>;

describe.each(["small", "wide"] as const)(
  "the gradient of a token choice on golden checkpoint %s",
  (name) => {
    const { ids, prompt, timestep, stride } = expected;
    const { loss, gradient, sum, squares } = expected[name];
    let golden: GoldenModel;
    beforeAll(async () => {
      golden = await loadGolden(name);
    });
    afterAll(() => golden.dispose());

    it("is the reference's, through UNet, text encoder and embedding table, and so is the loss", async () => {
      const { schedule } = golden.model;
      const noise = new Random(2102).normal([1, 4, 16, 16]);
      const latents = addNoise(schedule, new Random(2101).normal([1, 4, 16, 16]), noise, [timestep]);
      const searched = Tensor.from(ids, [ids.length], { dtype: "int64" });
      const actual = await tokenGradient(
        golden.model,
        { prompt: `<found> ${prompt}`, token: "<found>", ids: searched },
        { latents, noise, timestep },
      );
      expect(await relativeError(actual.loss, Tensor.from([loss], []))).toBeLessThan(OUTPUT);
      const columns = actual.gradient.slice(1, 0, undefined, stride);
      expect(await relativeError(columns, Tensor.from(gradient, columns.shape))).toBeLessThan(GRADIENT);
      const exact = actual.gradient.to("float64");
      expect(await relativeError(exact.sum(1), Tensor.from(sum, [ids.length]))).toBeLessThan(GRADIENT);
      expect(await relativeError(exact.square().sum(1), Tensor.from(squares, [ids.length]))).toBeLessThan(
        2 * GRADIENT,
      );
    });
  },
);
