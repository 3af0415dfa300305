import { readFileSync } from "node:fs";
import { join } from "node:path";
import { encodePrompts } from "../../lib/diffusion/conditioning";
import { splicePrompt } from "../../lib/diffusion/learned-tokens";
import { addNoise } from "../../lib/diffusion/noisy-latents";
import { Random } from "../../lib/runtime/random";
import { Tensor } from "../../lib/runtime/tensor";
import { relativeError } from "../support/compare";
import { loadGolden, type GoldenModel } from "../support/golden-model";

// The reference is diffusers and transformers in float32; the error is relative to the largest element.
const OUTPUT = 2e-5;
const GRADIENT = 1e-4;

interface Reference {
  places: number[][];
  length: number[];
  loss: number;
  gradient: number[];
}
const expected = JSON.parse(
  readFileSync(join(__dirname, "..", "fixtures", "inversion", "reference.json"), "utf8"),
) as { vectors: number; captions: string[]; timesteps: number[] } & Record<"small" | "wide", Reference>;

describe.each(["small", "wide"] as const)("textual inversion on golden checkpoint %s", (name) => {
  const { vectors, captions, timesteps } = expected;
  const { places, length, loss, gradient } = expected[name];
  const prompts = captions.map((caption) => caption.replaceAll("{}", "<inverted>"));
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden(name);
  });
  afterAll(() => golden.dispose());

  const learned = () => {
    const width = golden.model.textEncoder.config.hidden_size;
    return { token: "<inverted>", embeddings: new Random(2000).normal([vectors, width]).mul(0.05) };
  };

  it("puts the vectors where the reference's tokenizer has the added tokens", () => {
    const { tokenizer } = golden.model;
    const rows = prompts.map((prompt) => splicePrompt(tokenizer, prompt, [learned()]));
    expect(rows.map((row) => row.places.map(({ position }) => position))).toEqual(places);
    expect(rows.map(({ ids }) => ids.indexOf(tokenizer.eosTokenId))).toEqual(length);
  });

  it("gives the reference's loss, and its gradient through UNet and text encoder", async () => {
    const { unet, schedule } = golden.model;
    const { token, embeddings } = learned();
    const leaf = await embeddings.detach().clone().requireGrad();
    const tokens = [{ token, embeddings: leaf }];
    const { context } = await encodePrompts(golden.model, prompts, { tokens, grad: true });
    const noise = new Random(2002).normal([2, 4, 16, 16]);
    const latents = addNoise(schedule, new Random(2001).normal([2, 4, 16, 16]), noise, timesteps);
    const actual = (await unet.forward(latents, timesteps, context, { grad: true })).mse(noise);
    await actual.backward();
    expect(await relativeError(actual, Tensor.from([loss], []))).toBeLessThan(OUTPUT);
    expect(await relativeError(leaf.grad!, Tensor.from(gradient, leaf.shape))).toBeLessThan(GRADIENT);
  });
});
