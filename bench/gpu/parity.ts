/** The golden checkpoints against the stored outputs of diffusers and transformers, on any device and in any dtype. */
import { readFile } from "node:fs/promises";
import { erase, noGrad, type ComputeDtype, type Device, type Tensor } from "../../lib/index";
import { lossScale } from "../../lib/internal";
import type { Comparison } from "./assignment";
import { isThere, loadGolden, type Golden } from "./golden";

interface Limits {
  /** Outputs, max |a - b| / max |b|. */
  output: number;
  /** Gradients, the same. */
  gradient: number;
  /**
   * KPOP's losses, |a / b - 1|. In a half dtype they are mean squares of differences below that dtype's rounding, and all
   * that can be asked is the triangle inequality: √a and √b lie no farther apart than the predictions' errors, `output`.
   */
  loss: number | null;
  /**
   * The prompt's update and the weights', in relative Frobenius norm. In a half dtype nothing can be asked: Adam's first
   * steps follow the signs of gradients, which rounding turns.
   */
  update: number | null;
}

/**
 * float32's are those of test/fixtures/golden/README.md. The others are some three times what a CPU gave, since the
 * reference is float32: they tell a wrong result from a coarse one.
 */
export const LIMITS: Readonly<Record<ComputeDtype, Limits>> = {
  float32: { output: 2e-5, gradient: 1e-4, loss: 1e-3, update: 1e-3 },
  float16: { output: 5e-3, gradient: 3e-2, loss: null, update: null },
  bfloat16: { output: 3e-2, gradient: 0.1, loss: null, update: null },
};

/** One that was not carried along is left out. */
const CHECKPOINTS = ["small", "wide"];

/** Every figure with its limit. @throws Error where a shape differs */
export async function parity(device: Device, dtype: ComputeDtype): Promise<Comparison[]> {
  const all: Comparison[] = [];
  for (const name of CHECKPOINTS.filter(isThere)) {
    const golden = await loadGolden(name, device, dtype);
    const limits = LIMITS[dtype];
    const note = (what: string, error: number, limit: number): void => {
      all.push({ checkpoint: name, what, error, limit });
    };
    try {
      await forwards(golden, limits, note);
      await gradients(golden, limits, note);
      await kpop(golden, limits, note);
    } finally {
      await golden.dispose();
    }
  }
  return all;
}

type Note = (what: string, error: number, limit: number) => void;

async function forwards(
  { model, texts, expected, input }: Golden,
  { output }: Limits,
  note: Note,
): Promise<void> {
  const { unet, vae } = model;
  const against = async (what: string, actual: Tensor, key: string): Promise<void> =>
    note(what, await relativeError(actual, expected(key)), output);
  const prompts = JSON.parse(await readFile(texts, "utf8")) as string[];
  const timesteps = Array.from(await expected("unet.timestep").data(), Number);
  const [sample, context] = [input("unet.sample"), input("unet.encoder_hidden_states")];

  await noGrad(async () => {
    await against("text encoder", await model.encode(prompts), "text.last_hidden_state");
    await against("UNet", await unet.forward(sample, timesteps, context), "unet.out");
    for (const [layers, key] of [
      ["mid", "mid"],
      ["mid-up", "mid_up"],
      ["all", "all"],
    ] as const) {
      const options = { prompt: input("unet.prompt"), layers };
      const out = await unet.forward(sample, timesteps, context, options);
      await against(`UNet, prompt in ${layers}`, out, `unet.out.concat.${key}`);
    }
    const additive = { prompt: input("unet.prompt.additive"), mechanism: "additive", layers: "all" } as const;
    const out = await unet.forward(sample, timesteps, context, additive);
    await against("UNet, additive prompt", out, "unet.out.additive");
    await against("VAE encoder", (await vae.encode(input("vae.image"))).mean, "vae.encode.mean");
    await against("VAE decoder", await vae.decode(input("vae.latent")), "vae.decode");
  });
}

async function gradients(golden: Golden, { output, gradient }: Limits, note: Note): Promise<void> {
  const { model, expected, input, keys } = golden;
  const { unet, device, dtype } = model;
  const weights = keys("grad.unet.").map(
    (key) => [key, unet.parameter(key.slice("grad.unet.".length))] as const,
  );
  const prompt = expected("unet.prompt").to({ device }).clone();
  for (const leaf of [prompt, ...weights.map(([, weight]) => weight)]) await leaf.requireGrad();
  const timesteps = Array.from(await expected("unet.timestep").data(), Number);
  const out = await unet.forward(input("unet.sample"), timesteps, input("unet.encoder_hidden_states"), {
    prompt: prompt.to(dtype),
    grad: true,
  });
  const loss = out.to("float32").mse(expected("grad.target").to({ device }));
  note("loss", await relativeError(loss, expected("grad.loss")), output);
  const scale = lossScale(dtype);
  await loss.mul(scale).backward();
  note(
    "gradient of the prompt",
    await relativeError(prompt.grad!.div(scale), expected("grad.prompt")),
    gradient,
  );
  let worst = 0;
  for (const [key, weight] of weights) {
    worst = Math.max(worst, await relativeError(weight.grad!.div(scale), expected(key)));
    await weight.zeroGrad();
    await weight.requireGrad(false);
  }
  note(`gradients of ${weights.length} weights`, worst, gradient);
}

/** The reference's four iterations, on its z_t and t. */
async function kpop(golden: Golden, limits: Limits, note: Note): Promise<void> {
  const { model, expected, keys } = golden;
  const erasure = await erase(model, {
    concepts: "church",
    neutral: "a photo",
    neighbours: "off",
    iterations: 4,
    learningRate: 1e-4,
    promptLearningRate: 1e-2,
    lambda: 0.1,
    prompt: { init: expected("kpop.prompt.init") },
    latents: kpopLatents(golden),
  });
  try {
    const transfer = Array.from(await expected("kpop.loss.transfer").data(), Number); // (4)
    const removal = Array.from(await expected("kpop.loss.removal").data(), Number); // (4, 2): L1, L2
    const references: Record<string, (iteration: number) => number> = {
      transfer: (i) => transfer[i]!,
      erase: (i) => removal[2 * i]!,
      recover: (i) => removal[2 * i + 1]!,
    };
    const rms = Math.sqrt(await expected("unet.out").square().mean().item());
    const apart = (a: number, b: number): number =>
      limits.loss === null ? Math.abs(Math.sqrt(a) - Math.sqrt(b)) / rms : Math.abs(a / b - 1);
    for (const [name, reference] of Object.entries(references)) {
      const errors = erasure.history.map(({ losses }, i) => apart(losses[name]!, reference(i)));
      note(`KPOP, ${name} of 4 iterations`, Math.max(...errors), limits.loss ?? limits.output);
    }
    if (limits.update === null) return;
    const start = expected("kpop.prompt.init");
    const moved = await relativeUpdateError(erasure.key!.prompt, expected("kpop.prompt.final"), start);
    note("KPOP, update of the prompt", moved, limits.update);
    let worst = 0;
    for (const key of keys("kpop.unet.")) {
      const name = key.slice("kpop.unet.".length);
      const before = model.unet.parameter(name);
      worst = Math.max(
        worst,
        await relativeUpdateError(erasure.model.unet.parameter(name), expected(key), before),
      );
    }
    note("KPOP, update of the weights", worst, limits.update);
  } finally {
    erasure.dispose();
  }
}

async function* kpopLatents({ expected }: Golden): AsyncGenerator<{ latents: Tensor; timestep: number }> {
  const latents = expected("kpop.latents"); // (4, 1, 4, 16, 16)
  const timesteps = Array.from(await expected("kpop.timesteps").data(), Number);
  for (const [i, timestep] of timesteps.entries())
    yield { latents: latents.slice(0, i, i + 1).squeeze(0), timestep };
}

const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);

/** max |a - b| / max |b|; infinite where an element is no number. */
async function relativeError(actual: Tensor, reference: Tensor): Promise<number> {
  if (actual.shape.join() !== reference.shape.join())
    throw new Error(
      `expected shape [${reference.shape.join(", ")}] but received [${actual.shape.join(", ")}]`,
    );
  const [a, b] = [await numbers(actual), await numbers(reference)];
  let worst = 0;
  let largest = 0;
  for (const [index, value] of b.entries()) {
    const difference = Math.abs(a[index]! - value);
    worst = Number.isNaN(difference) ? Infinity : Math.max(worst, difference);
    largest = Math.max(largest, Math.abs(value));
  }
  return worst / largest;
}

/** ‖(a - start) - (b - start)‖ / ‖b - start‖. */
async function relativeUpdateError(actual: Tensor, reference: Tensor, start: Tensor): Promise<number> {
  const [a, b, s] = [await numbers(actual), await numbers(reference), await numbers(start)];
  let difference = 0;
  let norm = 0;
  for (const [index, value] of b.entries()) {
    difference += (a[index]! - value) ** 2;
    norm += (value - s[index]!) ** 2;
  }
  return Math.sqrt(difference / norm);
}
