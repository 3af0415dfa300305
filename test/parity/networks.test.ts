import { readFileSync } from "node:fs";
import { noGrad } from "../../lib/runtime/grad-mode";
import type { Tensor } from "../../lib/runtime/tensor";
import { sampler } from "../../lib/diffusion/samplers";
import { denoise } from "../../lib/diffusion/denoise";
import { golden } from "../support/golden";
import { loadGolden, type GoldenModel } from "../support/golden-model";
import { relativeError } from "../support/compare";

// The reference is diffusers and transformers in float32; the error is relative to the largest element.
const OUTPUT = 2e-5;
const GRADIENT = 1e-4;

describe.each(["small", "wide"] as const)("golden checkpoint %s", (name) => {
  let reference: GoldenModel;
  const expected = (key: string): Tensor => reference.expected(key);

  beforeAll(async () => {
    reference = await loadGolden(name);
  });
  afterAll(() => reference.dispose());

  it("tokenizes and encodes the prompts", async () => {
    const { model } = reference;
    const texts = JSON.parse(readFileSync(golden(name, "texts.json"), "utf8")) as string[];
    expect(model.tokenizer.encode(texts).flat()).toEqual(
      Array.from(await expected("text.input_ids").data(), Number),
    );
    expect(await relativeError(await model.encode(texts), expected("text.last_hidden_state"))).toBeLessThan(
      OUTPUT,
    );
  });

  it("predicts noise without a prompt, two timesteps in a batch", async () => {
    const timesteps = Array.from(await expected("unet.timestep").data(), Number);
    const out = await reference.model.unet.forward(
      expected("unet.sample"),
      timesteps,
      expected("unet.encoder_hidden_states"),
    );
    expect(await relativeError(out, expected("unet.out"))).toBeLessThan(OUTPUT);
  });

  it.each([
    ["concat", "mid", "unet.prompt", "unet.out.concat.mid"],
    ["concat", "mid-up", "unet.prompt", "unet.out.concat.mid_up"],
    ["concat", "all", "unet.prompt", "unet.out.concat.all"],
    ["additive", "all", "unet.prompt.additive", "unet.out.additive"],
  ] as const)("predicts noise with a prompt, %s in the layers %s", async (mechanism, layers, prompt, out) => {
    const { unet } = reference.model;
    const timesteps = Array.from(await expected("unet.timestep").data(), Number);
    const options = { prompt: expected(prompt), mechanism, layers };
    const actual = await unet.forward(
      expected("unet.sample"),
      timesteps,
      expected("unet.encoder_hidden_states"),
      options,
    );
    expect(await relativeError(actual, expected(out))).toBeLessThan(OUTPUT);
    const named = await unet.forward(
      expected("unet.sample"),
      timesteps,
      expected("unet.encoder_hidden_states"),
      {
        ...options,
        layers: unet.promptLayers(layers),
      },
    );
    expect(await relativeError(named, actual)).toBe(0);
  });

  it("predicts noise in rectangular latents", async () => {
    const context = expected("text.last_hidden_state").slice(0, 0, 1);
    const out = await reference.model.unet.forward(expected("unet.rect.sample"), 500, context);
    expect(await relativeError(out, expected("unet.rect.out"))).toBeLessThan(OUTPUT);
  });

  it("encodes and decodes images", async () => {
    const { vae } = reference.model;
    const { mean, logvar } = await vae.encode(expected("vae.image"));
    expect(await relativeError(mean, expected("vae.encode.mean"))).toBeLessThan(OUTPUT);
    expect(await relativeError(logvar, expected("vae.encode.logvar"))).toBeLessThan(OUTPUT);
    expect(
      await relativeError(await vae.decode(expected("vae.latent")), expected("vae.decode")),
    ).toBeLessThan(OUTPUT);
  });

  it("differentiates the loss by prompt and weights", async () => {
    const { unet } = reference.model;
    const names = reference.keys("grad.unet.").map((key) => key.slice("grad.unet.".length));
    expect(names.length).toBeGreaterThan(0);
    const weights = names.map((weight) => unet.parameter(weight));
    const prompt = expected("unet.prompt").clone();
    for (const leaf of [...weights, prompt]) await leaf.requireGrad();
    const timesteps = Array.from(await expected("unet.timestep").data(), Number);
    const out = await unet.forward(
      expected("unet.sample"),
      timesteps,
      expected("unet.encoder_hidden_states"),
      {
        prompt,
        grad: true,
      },
    );
    const loss = out.mse(expected("grad.target"));
    expect(await relativeError(loss, expected("grad.loss"))).toBeLessThan(OUTPUT);
    await loss.backward();
    expect(await relativeError(prompt.grad!, expected("grad.prompt"))).toBeLessThan(GRADIENT);
    for (const [index, weight] of weights.entries()) {
      expect(await relativeError(weight.grad!, expected(`grad.unet.${names[index]}`))).toBeLessThan(GRADIENT);
      await weight.zeroGrad();
      await weight.requireGrad(false);
    }
  });

  it("agrees with a central difference along the gradient of a weight", async () => {
    const { unet } = reference.model;
    const timesteps = Array.from(await expected("unet.timestep").data(), Number);
    const weight = unet.parameter("mid_block.resnets.1.conv2.weight");
    const loss = async (grad = false): Promise<Tensor> => {
      const context = expected("unet.encoder_hidden_states");
      const out = await unet.forward(expected("unet.sample"), timesteps, context, { grad });
      return out.to("float64").mse(expected("grad.target").to("float64"));
    };
    await weight.requireGrad();
    await (await loss(true)).backward();
    await weight.requireGrad(false);
    const gradient = weight.grad!.clone();
    await weight.zeroGrad();
    const norm = await gradient.square().sum().sqrt().item();
    const start = weight.clone();
    const step = 0.05; // along the unit vector of the gradient, where the slope is its norm
    const at = async (length: number): Promise<number> => {
      await weight.copyFrom(start.add(gradient.mul(length / norm)));
      return noGrad(async () => (await loss()).item());
    };
    const difference = ((await at(step)) - (await at(-step))) / (2 * step);
    await weight.copyFrom(start);
    // The float32 forward leaves about 1e-7 / step, the step itself an error of order step².
    expect(Math.abs(difference / norm - 1)).toBeLessThan(5e-3);
  });

  it("follows the reference's guided DDIM trajectory", async () => {
    const { model } = reference;
    const run = sampler("ddim").create<Tensor>(model.schedule, 10);
    expect(run.timesteps).toEqual(Array.from(await expected("ddim.timesteps").data(), Number));
    const [text, negative] = [expected("ddim.cond"), expected("ddim.uncond")].map((context) => ({ context }));
    const condition = { text: text!, negative: negative!, guidanceScale: 7.5 };
    let last: Tensor | undefined;
    for await (const { latents } of denoise(model, run, expected("ddim.noise"), condition))
      last = latents.clone();
    expect(await relativeError(last!, expected("ddim.latents"))).toBeLessThan(OUTPUT);
  });
});
