import type { Tensor } from "../../lib/runtime/tensor";
import { denoise } from "../../lib/diffusion/denoise";
import { freshNoise } from "../../lib/diffusion/fresh-noise";
import { NoiseSchedule } from "../../lib/diffusion/noise-schedule";
import { sampler } from "../../lib/diffusion/samplers";
import { relativeError, worstByte } from "../support/compare";
import type { GoldenModel } from "../support/golden-model";
import { loadFamily } from "../support/family-model";

// The reference is diffusers and transformers in float32; the error is relative to the largest element.
const OUTPUT = 2e-5;
const GRADIENT = 1e-4;
const SNR = { rescale_betas_zero_snr: true, timestep_spacing: "trailing" } as const;

describe("a tiny model of Stable Diffusion 2's kind", () => {
  let reference: GoldenModel;
  const expected = (key: string): Tensor => reference.expected(key);
  const texts = ["a photo of a church", "a café! 2 English springers by the sea"];
  const predict = async (options = {}): Promise<Tensor> => {
    const timesteps = Array.from(await expected("unet.timestep").data(), Number);
    const { unet } = reference.model;
    return unet.forward(expected("unet.sample"), timesteps, expected("text.context"), options);
  };

  beforeAll(async () => {
    reference = await loadFamily("v2");
  });
  afterAll(() => reference.dispose());

  it('pads with "!" and encodes the prompts by OpenCLIP\'s gelu tower', async () => {
    const { model } = reference;
    const ids = model.tokenizer.encode(texts);
    expect(ids.flat()).toEqual(Array.from(await expected("text.input_ids").data(), Number));
    expect(ids[0]!.at(-1)).toBe(0);
    expect(await relativeError(await model.encode(texts), expected("text.context"))).toBeLessThan(OUTPUT);
  });

  it("predicts v, with heads by level, linear projections and upcast attention", async () => {
    expect(reference.model.schedule.predictionType).toBe("v_prediction");
    expect(await relativeError(await predict(), expected("unet.out"))).toBeLessThan(OUTPUT);
    for (const layers of ["mid", "all"] as const) {
      const out = await predict({ prompt: expected("unet.prompt"), layers });
      expect(await relativeError(out, expected(`unet.out.concat.${layers}`))).toBeLessThan(OUTPUT);
    }
  });

  it("encodes and decodes images", async () => {
    const { vae } = reference.model;
    const { mean } = await vae.encode(expected("vae.image"));
    expect(await relativeError(mean, expected("vae.encode.mean"))).toBeLessThan(OUTPUT);
    const decoded = await vae.decode(expected("vae.latent"));
    expect(await relativeError(decoded, expected("vae.decode"))).toBeLessThan(OUTPUT);
  });

  it("differentiates the loss by prompt and weights", async () => {
    const { unet } = reference.model;
    const names = reference.keys("grad.unet.").map((key) => key.slice("grad.unet.".length));
    const weights = names.map((weight) => unet.parameter(weight));
    const prompt = expected("unet.prompt").clone();
    for (const leaf of [...weights, prompt]) await leaf.requireGrad();
    const loss = (await predict({ prompt, grad: true })).mse(expected("grad.target"));
    expect(await relativeError(loss, expected("grad.loss"))).toBeLessThan(OUTPUT);
    await loss.backward();
    expect(await relativeError(prompt.grad!, expected("grad.prompt"))).toBeLessThan(GRADIENT);
    expect(weights.length).toBeGreaterThan(0);
    for (const [index, weight] of weights.entries()) {
      expect(await relativeError(weight.grad!, expected(`grad.unet.${names[index]}`))).toBeLessThan(GRADIENT);
      await weight.zeroGrad();
      await weight.requireGrad(false);
    }
  });

  it.each([
    ["ddim", {}],
    ["ddim", SNR],
    ["pndm", {}],
    ["euler", {}],
    ["euler", SNR],
    ["euler-ancestral", SNR],
    ["heun", {}],
    ["dpmpp-2m", {}],
    ["dpmpp-2m", SNR],
    ["dpmpp-2m-karras", SNR],
    ["lcm", SNR],
    ["pndm", { prediction_type: "epsilon" }],
  ] as const)("follows the pipeline's guided trajectory with %s, %j", async (name, changes) => {
    const { model } = reference;
    const suffix = changes === SNR ? ".snr" : "prediction_type" in changes ? ".epsilon" : "";
    const schedule = NoiseSchedule.fromConfig({ ...model.source.scheduler, ...changes });
    const run = sampler(name).create<Tensor>(schedule, 6);
    const noise = expected("picture.noise");
    const fresh = freshNoise([5, 5], [1, 4, 16, 16], { count: run.timesteps.length, afterStart: false });
    const guidance = {
      text: await model.condition(texts),
      negative: await model.condition(["blurry", "blurry"]),
      guidanceScale: 5,
    };
    let last: Tensor | undefined;
    const { unet, dtype } = model;
    for await (const { latents } of denoise({ unet, dtype, schedule }, run, noise, guidance, { fresh }))
      last = latents.clone();
    const error = await relativeError(last!, expected(`picture.${name}${suffix}.latents`));
    expect(error).toBeLessThan(OUTPUT);
  });

  it("draws the pipeline's pictures, from zero signal-to-noise ratio on", async () => {
    const { model } = await loadFamily("v2", { scheduler: SNR });
    const images = await model.generate(texts, {
      ...{ latents: expected("picture.noise"), steps: 6, guidanceScale: 5, negativePrompt: "blurry" },
    });
    expect(await worstByte(images, expected("picture.ddim.snr.bytes"))).toBeLessThanOrEqual(2);
    model.dispose();
  });
});
