import { finite, integer, invalid, jobOptions, knownKeys, nonEmptyString, oneOf } from "../check";
import { KpopError, throwIfAborted } from "../errors";
import { Image } from "../io/image";
import { noGrad } from "../runtime/grad-mode";
import { Random } from "../runtime/random";
import { scope, unscoped } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";
import { denoise } from "./denoise";
import type { Condition } from "./guidance";
import { checkLearnedTokens, type LearnedToken } from "./learned-tokens";
import { PromptKey } from "./prompt-key";
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
  /** The key of an erasure: brings the erased concept back. */
  key?: PromptKey;
  /** Which half of guidance sees the key. "conditional" brings more of the concept back. Default "conditional". */
  keyGuidance?: "conditional" | "both";
  /** Learned tokens that the prompts may name: inversions. */
  tokens?: readonly LearnedToken[];
  /** Pictures denoised together. Default 4. */
  batchSize?: number;
  signal?: AbortSignal;
  onStep?(step: GenerateStep): void;
  /** Called with each batch as it is complete, and the place of its first picture; waited for. An abort afterwards does
   *  not take them back. */
  onImages?(images: readonly Image[], first: number): void | Promise<void>;
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
  "onImages",
];

/** Pictures for prompts, prompt by prompt, `count` of each. The public form is `StableDiffusion.generate`. */
export async function generate(
  model: StableDiffusion,
  prompt: string | readonly string[],
  options: GenerateOptions = {},
): Promise<Image[]> {
  const o = checkGenerate(model, prompt, options);
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
  jobOptions(options, "onStep", "onImages");
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
    onImages: options.onImages,
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
  for (let first = 0; first < o.total; first += o.batchSize) {
    const indices = Array.from({ length: Math.min(o.batchSize, o.total - first) }, (_, i) => first + i);
    const pictures = await scope(async () => {
      const noise =
        o.latents?.slice(0, first, first + indices.length) ??
        Tensor.cat(indices.map((index) => startingNoise(model, o.seed + (index % o.count), o)));
      const promptOf = indices.map((index) => Math.floor(index / o.count));
      const condition: Condition = {
        text: rows(texts, promptOf),
        negative: negative === null ? null : negative.expand([indices.length, ...negative.shape.slice(1)]),
        guidanceScale: o.guidanceScale,
        injectNegative: o.keyGuidance === "both",
        ...(o.key === undefined
          ? {}
          : {
              injection: injectionOf(
                o.key,
                promptOf.map((p) => o.prompts[p]!),
                model.device,
              ),
            }),
      };
      const latents = await denoiseAll(
        model,
        o,
        noise.to({ dtype: "float32", device: model.device }),
        condition,
        images.length,
      );
      return decode(model, latents);
    });
    images.push(...pictures);
    await o.onImages?.(pictures, first);
  }
  return images;
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
    o.onStep?.({ step, steps, images: done + finished, totalImages: o.total });
  }
  throwIfAborted(o.signal);
  return result!;
}

/** Latents (B, 4, h, w), scaled, to pictures. */
export async function decode(model: StableDiffusion, latents: Tensor): Promise<Image[]> {
  const decoded = await model.vae.decode(latents.div(model.vae.config.scaling_factor).to(model.dtype));
  const bytes = decoded
    .to("float32")
    .div(2)
    .add(0.5)
    .clamp(0, 1)
    .mul(255)
    .round()
    .permute([0, 2, 3, 1])
    .to("uint8");
  const [count, height, width] = bytes.shape as [number, number, number, number];
  const data = (await bytes.data()) as Uint8Array;
  const size = width * height * 3;
  return Array.from(
    { length: count },
    (_, i) => new Image(width, height, data.slice(i * size, (i + 1) * size)),
  );
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

/** The key as an injection; a key with a prompt for each concept gives every picture that of the concept it names. */
function injectionOf(
  key: PromptKey,
  prompts: readonly string[],
  device: string,
): Condition["injection"] & object {
  const { mechanism, layers } = key;
  if (!key.perConcept) return { prompt: key.prompt.to({ device }), mechanism, layers };
  const chosen = prompts.map((prompt) => {
    const named = key.concepts.filter((concept) =>
      prompt.toLowerCase().includes(nonEmptyString("concept", concept).toLowerCase()),
    );
    if (named.length === 0) {
      throw new KpopError(
        "INVALID_ARGUMENT",
        `The key has a prompt for each of ${key.concepts.map((c) => `"${c}"`).join(", ")}, and "${prompt}" names none of them; choose one with key.select(concept)`,
      );
    }
    return named.reduce((a, b) => (b.length > a.length ? b : a));
  });
  return {
    prompt: Tensor.stack(chosen.map((concept) => key.select(concept).prompt)).to({ device }),
    mechanism,
    layers,
  };
}
