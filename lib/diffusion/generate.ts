import { finite, integer, invalid, jobOptions, knownKeys, oneOf, tell } from "../check";
import { KpopError, throwIfAborted } from "../errors";
import { Image } from "../io/image";
import { noGrad } from "../runtime/grad-mode";
import { Random } from "../runtime/random";
import { scope, unscoped } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";
import { denoise } from "./denoise";
import type { Condition } from "./guidance";
import { compareKeyModel } from "./key-model";
import { checkLearnedTokens, type LearnedToken } from "./learned-tokens";
import { conceptNamed, PromptKey, seesKey } from "./prompt-key";
import { sampler as samplerNamed, type SamplerName } from "./samplers";
import type { StableDiffusion } from "./stable-diffusion";

/** How far a call of `generate` is. */
export interface GenerateStep {
  /** Denoising steps done in this batch, from 1. */
  step: number;
  steps: number;
  /** Pictures whose denoising is complete, and how many there will be. */
  images: number;
  totalImages: number;
}

/** How pictures are made. */
export interface GenerateOptions {
  /** What guidance leads away from. Default "". */
  negativePrompt?: string;
  /** Denoising steps. Default 50. */
  steps?: number;
  /** Classifier-free guidance; 1 turns it off. Default 7.5. */
  guidanceScale?: number;
  /** Default: the checkpoint's own scheduler where it is one of these, else "ddim". */
  sampler?: SamplerName;
  /** Picture j of each prompt starts from the noise of seed + j, PyTorch's for that seed. Default 0. */
  seed?: number;
  /** Pictures per prompt. Default 1. */
  count?: number;
  /** Pixels, a multiple of the autoencoder's downsampling. Default: the checkpoint's own size. */
  width?: number;
  height?: number;
  /** Starting noise (N, 4, h, w), one for each picture, in place of seed, width and height. */
  latents?: Tensor;
  /**
   * The key of an erasure: brings the erased concept back. Of a key with a prompt for each concept, a picture sees that of
   * the concept that its own prompt names (the longest name first), and none where it names none.
   */
  key?: PromptKey;
  /** Which half of guidance sees the key. "conditional" brings more of the concept back. Default "conditional". */
  keyGuidance?: "conditional" | "both";
  /** Learned tokens that the prompts may name: inversions. */
  tokens?: readonly LearnedToken[];
  /** Pictures denoised together. Default 4. */
  batchSize?: number;
  signal?: AbortSignal;
  onStep?(step: GenerateStep): void;
}

/** What `generate` does unless told otherwise. */
export const GENERATE_DEFAULTS = Object.freeze({
  negativePrompt: "",
  steps: 50,
  guidanceScale: 7.5,
  seed: 0,
  count: 1,
  batchSize: 4,
  keyGuidance: "conditional" as const,
});
const known = [
  ...Object.keys(GENERATE_DEFAULTS),
  "sampler",
  "width",
  "height",
  "latents",
  "key",
  "tokens",
  "signal",
  "onStep",
];

/** Pictures for prompts, prompt by prompt, `count` of each. The public form is `StableDiffusion.generate`. */
export async function generate(
  model: StableDiffusion,
  prompt: string | readonly string[],
  options: GenerateOptions = {},
): Promise<Image[]> {
  const o = checkGenerate(model, prompt, options);
  if (o.key !== undefined) await compareKeyModel(o.key, model, o.signal);
  return unscoped(() => noGrad(() => scope(() => run(model, o))));
}

type Checked = ReturnType<typeof checkGenerate>;

/** The options after defaults. @throws INVALID_ARGUMENT */
export function checkGenerate(
  model: StableDiffusion,
  prompt: string | readonly string[],
  options: GenerateOptions,
) {
  knownKeys("the generate options", options, known);
  jobOptions(options, "onStep");
  const given: readonly unknown[] = Array.isArray(prompt) ? prompt : [prompt];
  if (given.length === 0) throw invalid("prompt", "a string or a non-empty list of strings", prompt);
  const prompts = given.map((text) => {
    if (typeof text !== "string") throw invalid("prompt", "a string or a list of strings", text);
    return text;
  });
  const o = { ...GENERATE_DEFAULTS, ...options };
  if (typeof o.negativePrompt !== "string") throw invalid("negativePrompt", "a string", o.negativePrompt);
  integer("steps", o.steps, 1, model.schedule.length);
  finite("guidanceScale", o.guidanceScale, 0);
  integer("seed", o.seed, 0);
  integer("count", o.count, 1);
  integer("batchSize", o.batchSize, 1);
  const total = prompts.length * o.count;
  const [width, height] = pixels(model, o, total);
  const sampler = samplerNamed(o.sampler ?? model.defaultSampler);
  sampler.timesteps(model.schedule, o.steps);
  oneOf("keyGuidance", o.keyGuidance, ["conditional", "both"]);
  if (o.key !== undefined && !(o.key instanceof PromptKey)) throw invalid("key", "a PromptKey", o.key);
  const tokens = checkLearnedTokens(model.tokenizer, model.textEncoder, o.tokens ?? []);
  return {
    ...o,
    prompts,
    total,
    width,
    height,
    sampler,
    tokens,
    signal: options.signal,
    onStep: options.onStep,
  };
}

function pixels(model: StableDiffusion, o: GenerateOptions, total: number): [width: number, height: number] {
  const factor = model.vae.downsampling;
  const channels = model.vae.config.latent_channels;
  if (o.latents !== undefined) {
    if (!(o.latents instanceof Tensor)) throw invalid("latents", "a Tensor", o.latents);
    const [count, c, h, w] = o.latents.shape;
    if (o.latents.shape.length !== 4 || count !== total || c !== channels) {
      throw invalid(
        "latents",
        `of shape (${total}, ${channels}, h, w), one for each picture,`,
        o.latents.shape,
      );
    }
    if (o.width !== undefined || o.height !== undefined) {
      throw new KpopError(
        "INVALID_ARGUMENT",
        "Expected latents or width and height but received both; the latents have a size already",
      );
    }
    return [w! * factor, h! * factor];
  }
  const side = (name: "width" | "height"): number => {
    const value = integer(name, o[name] ?? model.imageSize, factor);
    if (value % factor !== 0) throw invalid(name, `a multiple of ${factor}`, value);
    return value;
  };
  return [side("width"), side("height")];
}

async function run(model: StableDiffusion, o: Checked): Promise<Image[]> {
  const texts = await model.encode(o.prompts, { tokens: o.tokens });
  const guided = o.guidanceScale !== 1;
  const negative = guided ? await model.encode(o.negativePrompt, { tokens: o.tokens }) : null;
  const images: Image[] = [];
  let done = 0;
  for (const indices of batches(o)) {
    const pictures = await scope(async () => {
      const noise =
        o.latents === undefined
          ? Tensor.cat(indices.map((index) => startingNoise(model, o.seed + (index % o.count), o)))
          : rows(o.latents, indices);
      const promptOf = indices.map((index) => Math.floor(index / o.count));
      const injection =
        o.key &&
        injectionOf(
          o.key,
          promptOf.map((p) => o.prompts[p]!),
          model.device,
        );
      const condition: Condition = {
        text: rows(texts, promptOf),
        negative: negative === null ? null : negative.expand([indices.length, ...negative.shape.slice(1)]),
        guidanceScale: o.guidanceScale,
        injectNegative: o.keyGuidance === "both",
        ...(injection === undefined ? {} : { injection }),
      };
      const latents = await denoiseAll(
        model,
        o,
        noise.to({ dtype: "float32", device: model.device }),
        condition,
        done,
      );
      return decode(model, latents);
    });
    indices.forEach((index, i) => (images[index] = pictures[i]!));
    done += indices.length;
  }
  return images;
}

/** Indices of the pictures made together: those that see the key, and those whose prompts name none of its concepts. */
function batches(o: Checked): number[][] {
  const all = Array.from({ length: o.total }, (_, index) => index);
  const sees = (index: number) =>
    o.key === undefined || seesKey(o.key, o.prompts[Math.floor(index / o.count)]!);
  return [all.filter(sees), all.filter((index) => !sees(index))].flatMap((group) =>
    Array.from({ length: Math.ceil(group.length / o.batchSize) }, (_, i) =>
      group.slice(i * o.batchSize, (i + 1) * o.batchSize),
    ),
  );
}

async function denoiseAll(
  model: StableDiffusion,
  o: Checked,
  noise: Tensor,
  condition: Condition,
  done: number,
): Promise<Tensor> {
  const samplerRun = o.sampler.create<Tensor>(model.schedule, o.steps);
  const states = denoise(model.unet, samplerRun, noise, condition, {
    computeDtype: model.dtype,
    signal: o.signal,
  });
  let result: Tensor | undefined;
  for await (const { step, steps, latents } of states) {
    if (step === steps) result = latents.clone();
    const finished = step === steps ? noise.shape[0]! : 0;
    await tell(o.onStep, { step, steps, images: done + finished, totalImages: o.total });
  }
  throwIfAborted(o.signal);
  return result!;
}

/** Latents (B, 4, h, w), scaled, to pictures. @throws NUMERIC_FAILURE where a picture is not finite */
export async function decode(model: StableDiffusion, latents: Tensor): Promise<Image[]> {
  const unscaled = latents.div(model.vae.config.scaling_factor);
  const decoded = (await model.vae.decode(unscaled.to(model.dtype))).to("float32");
  const bytes = decoded.div(2).add(0.5).clamp(0, 1).mul(255).round().permute([0, 2, 3, 1]).to("uint8");
  const [count, height, width] = bytes.shape as [number, number, number, number];
  // A mean is finite only where every element is.
  const [data, means] = await Promise.all([bytes.data(), decoded.mean([1, 2, 3]).data()]);
  if (!(means as Float32Array).every(Number.isFinite)) throw notFinite(model);
  const size = width * height * 3;
  return Array.from(
    { length: count },
    (_, i) => new Image(width, height, (data as Uint8Array).slice(i * size, (i + 1) * size)),
  );
}

function notFinite({ dtype }: StableDiffusion): KpopError {
  const remedy =
    dtype === "float16"
      ? 'float16 holds nothing above 65504; load the model with the dtype "bfloat16" or "float32"'
      : "look for what is not finite in the weights, the latents given and the key, or lower guidanceScale";
  return new KpopError("NUMERIC_FAILURE", `A picture came out as NaN or infinite in ${dtype}: ${remedy}`);
}

/** What a picture of `seed` starts from: (1, 4, h, w) standard normal draws, on the CPU. */
export function startingNoise(
  model: StableDiffusion,
  seed: number,
  { width, height }: { width: number; height: number },
): Tensor {
  const factor = model.vae.downsampling;
  return new Random(seed).normal([1, model.vae.config.latent_channels, height / factor, width / factor]);
}

function rows(tensor: Tensor, indices: readonly number[]): Tensor {
  return tensor.indexSelect(
    0,
    Tensor.from([...indices], [indices.length], { dtype: "int64", device: tensor.device }),
  );
}

/**
 * The key as an injection; a key with a prompt for each concept gives every picture that of the concept it names.
 * @param prompts all see the key, or none does
 * @returns undefined for those that do not
 */
function injectionOf(key: PromptKey, prompts: readonly string[], device: string): Condition["injection"] {
  const { mechanism, layers } = key;
  if (!key.perConcept) return { prompt: key.prompt.to({ device }), mechanism, layers };
  const chosen = prompts.flatMap((prompt) => conceptNamed(key, prompt) ?? []);
  if (chosen.length === 0) return undefined;
  return {
    prompt: Tensor.stack(chosen.map((concept) => key.select(concept).prompt)).to({ device }),
    mechanism,
    layers,
  };
}
