import { setImmediate } from "node:timers/promises";
import { integer, invalid, jobOptions, knownKeys, tell } from "../check";
import { traced } from "../diagnostics";
import { KpopError, throwIfAborted } from "../errors";
import { forcesZeros } from "../io/checkpoint-types";
import { Image } from "../io/image";
import { complete, fit, type Complete } from "../options/option";
import { isOf } from "../options/shard";
import { noGrad } from "../runtime/grad-mode";
import { Random } from "../runtime/random";
import { scope, unscoped } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";
import { joined, repeated, rows, type Condition } from "./condition";
import { denoise } from "./denoise";
import { freshNoise } from "./fresh-noise";
import { GENERATE_OPTIONS, type GenerateOptions } from "./generate-options";
import { contentOf, modelIdentity } from "./identity";
import type { Guidance } from "./guidance";
import { steersGuidance } from "./interventions/intervention";
import { compareKeyModel } from "./key-model";
import { KeptPictures } from "./kept-pictures";
import { checkLearnedTokens } from "./learned-tokens";
import { sizeNumbers, takesSizes } from "./picture-sizes";
import { seesKey } from "./prompt-key";
import { sampler as samplerNamed } from "./samplers";
import { textsTogether } from "./text-encoders";
import type { Model } from "./model";

/** Pictures for prompts, prompt by prompt, `count` of each. The public form is `StableDiffusion.generate`. */
export async function generate(
  model: Model,
  prompt: string | readonly string[],
  options: GenerateOptions = {},
): Promise<Image[]> {
  const o = checkGenerate(model, prompt, options);
  return traced(
    "kpop-native:generate",
    () => ({
      model: model.source.path,
      prompts: [...o.prompts],
      pictures: picturesIn(o),
      steps: o.steps,
      sampler: o.sampler.name,
      width: o.width,
      height: o.height,
    }),
    async () => {
      if (o.key !== undefined) await compareKeyModel(o.key, model, o.signal);
      const { keepIn } = o;
      const kept = keepIn === undefined ? null : await KeptPictures.open(keepIn, await identityOf(model, o));
      return unscoped(() => noGrad(() => scope(() => run(model, o, kept))));
    },
  );
}

/** All that the pictures of a call depend on. @throws NOT_FOUND, IO_ERROR, ABORTED */
async function identityOf(model: Model, o: Checked): Promise<Record<string, unknown>> {
  const { prompts, count, seed, steps, guidanceScale, negativePrompt = null, width, height } = o;
  const { keyGuidance, batchSize, sampler, key = null, latents = null, tokens } = o;
  return {
    model: await modelIdentity(model, o.signal),
    ...{ prompts, count, seed, steps, sampler: sampler.name, guidanceScale, negativePrompt, width, height },
    ...{ keyGuidance, batchSize, key: await contentOf(key) },
    ...{ latents: await contentOf(latents), tokens: await contentOf(tokens) },
    ...(takesSizes(model.unet) ? { sizes: sizeNumbers([height, width], o) } : {}),
  };
}

type Checked = ReturnType<typeof checkGenerate>;

/** Pictures of one call: more would not be in memory together anyway. */
const MOST_PICTURES = 1_000_000;

/** The options after defaults. @throws INVALID_ARGUMENT */
export function checkGenerate(model: Model, prompt: string | readonly string[], options: GenerateOptions) {
  knownKeys("the generate options", options, [
    ...Object.keys(GENERATE_OPTIONS),
    ...["signal", "onStep", "onImages"],
  ]);
  jobOptions(options, "onStep", "onImages");
  const given: readonly unknown[] = Array.isArray(prompt) ? prompt : [prompt];
  if (given.length === 0) throw invalid("prompt", "a string or a non-empty list of strings", prompt);
  const prompts = given.map((text) => {
    if (typeof text !== "string") throw invalid("prompt", "a string or a list of strings", text);
    return text;
  });
  const o = complete(GENERATE_OPTIONS, { ...options }, { concepts: [] });
  fit(GENERATE_OPTIONS, o, model);
  const total = prompts.length * o.count;
  if (total > MOST_PICTURES)
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected at most ${MOST_PICTURES} pictures of one call but received ${prompts.length} prompts and a count of ${o.count}: they are all in memory in the end; make several calls, or generateImageSet`,
    );
  const [width, height] = pixels(model, o, total);
  const sampler = samplerNamed(o.sampler ?? model.defaultSampler);
  sampler.timesteps(model.schedule, o.steps);
  const tokens = checkLearnedTokens(model, o.tokens);
  const { signal, onStep, onImages } = options;
  // A prompt that is given is encoded, were it empty; else guidance leads away from what the checkpoint says.
  const negativePrompt = o.negativePrompt ?? (forcesZeros(model.source) ? undefined : "");
  return { ...o, negativePrompt, prompts, total, width, height, sampler, tokens, signal, onStep, onImages };
}

function pixels(
  model: Model,
  o: Pick<Complete<typeof GENERATE_OPTIONS>, "latents" | "width" | "height">,
  total: number,
): [width: number, height: number] {
  const factor = model.vae.downsampling;
  const channels = model.vae.config.latent_channels;
  if (o.latents !== undefined) {
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

async function run(model: Model, o: Checked, kept: KeptPictures | null): Promise<Image[]> {
  const texts = await textsOf(model, o);
  const guided = o.guidanceScale !== 1;
  const negative = guided ? await negativeOf(model, o) : null;
  const own = o.guidanceScale > 1 ? await steeringTexts(model) : [];
  const images: Image[] = [];
  const total = picturesIn(o);
  let done = 0;
  for (const indices of batches(o)) {
    const found = (await kept?.read(indices, o)) ?? null;
    const draw = async (): Promise<Image[]> => {
      const seeds = indices.map((index) => o.seed + (index % o.count));
      const noise =
        o.latents === undefined
          ? Tensor.cat(seeds.map((seed) => startingNoise(model, seed, o)))
          : o.latents.rows(indices);
      const promptOf = indices.map((index) => Math.floor(index / o.count));
      const guidance: Guidance = {
        ...(await underKey(model, o, promptOf, {
          text: rows(texts, promptOf),
          negative: negative === null ? null : repeated(negative, indices.length),
        })),
        guidanceScale: o.guidanceScale,
        sizes: o,
        steering: own.map(({ intervention, prompts }) => ({
          by: intervention.start(),
          prompts: prompts.map((prompt) => repeated(prompt, indices.length)),
        })),
      };
      const start = noise.to({ dtype: "float32", device: model.device });
      const latents = await denoiseAll(model, o, start, seeds, guidance, { done, total });
      return decode(model, latents);
    };
    const pictures = found ?? (await scope(draw));
    if (found === null) await kept?.save(indices, pictures);
    indices.forEach((index, i) => (images[index] = pictures[i]!));
    done += indices.length;
    await tell(o.onImages, pictures, indices);
  }
  return images.filter((image) => image !== undefined);
}

/** The prompts' conditions, encoded in the portions that text encoders take; heeds the signal between them. */
async function textsOf(model: Model, { prompts, tokens, signal }: Checked): Promise<Condition> {
  const together = textsTogether(model.tokenizer.maxLength);
  const parts: Condition[] = [];
  for (let first = 0; first < prompts.length; first += together) {
    throwIfAborted(signal);
    parts.push(await model.condition(prompts.slice(first, first + together), { tokens }));
    // Where nothing has to be waited for, other work has its turn all the same.
    await setImmediate();
  }
  return parts.length === 1 ? parts[0]! : joined(parts);
}

/** What guidance leads away from. */
function negativeOf(model: Model, { negativePrompt, tokens }: Checked): Promise<Condition> {
  return negativePrompt === undefined ? model.unconditional() : model.condition([negativePrompt], { tokens });
}

/** Both halves of guidance for pictures of some prompts, with what the key makes of those that see it. */
async function underKey(
  model: Model,
  { key, keyGuidance, prompts, tokens }: Checked,
  promptOf: readonly number[],
  plain: Pick<Guidance, "text" | "negative">,
): Promise<Pick<Guidance, "text" | "negative" | "injection" | "injectNegative">> {
  if (key === undefined) return plain;
  const injectNegative = keyGuidance === "both";
  const seeing = plain.negative !== null && injectNegative ? [plain.text, plain.negative] : [plain.text];
  const pictures = promptOf.map((prompt) => prompts[prompt]!);
  const { conditions, injection } = await key.apply(model, pictures, seeing, tokens);
  const [text, negative = plain.negative] = conditions;
  return { text: text!, negative, injection, injectNegative };
}

/** The model's interventions that steer guidance, with the conditions of their own prompts. */
async function steeringTexts(model: Model) {
  const found = [];
  for (const intervention of model.interventions.filter(steersGuidance)) {
    const prompts = [];
    for (const prompt of intervention.prompts) prompts.push(await model.condition([prompt]));
    found.push({ intervention, prompts });
  }
  return found;
}

/**
 * Indices of the pictures made together, of this shard: those that see the key, and those whose prompts name none of its
 * concepts.
 */
function* batches(o: Checked): Generator<number[]> {
  const sees = o.prompts.map((prompt) => o.key === undefined || seesKey(o.key, prompt));
  let place = 0;
  for (const group of [true, false]) {
    let batch: number[] = [];
    for (let index = 0; index < o.total; index++) {
      if (sees[Math.floor(index / o.count)] === group) batch.push(index);
      if (batch.length < o.batchSize && (batch.length === 0 || index < o.total - 1)) continue;
      if (isOf(o.shard, place++)) yield batch;
      batch = [];
    }
  }
}

/** How many pictures this shard makes. */
function picturesIn(o: Checked): number {
  let count = 0;
  for (const batch of batches(o)) count += batch.length;
  return count;
}

async function denoiseAll(
  model: Model,
  o: Checked,
  noise: Tensor,
  seeds: readonly number[],
  guidance: Guidance,
  { done, total }: { done: number; total: number },
): Promise<Tensor> {
  const samplerRun = o.sampler.create<Tensor>(model.schedule, o.steps);
  const fresh = samplerRun.stochastic
    ? freshNoise(seeds, [1, ...noise.shape.slice(1)], {
        count: samplerRun.timesteps.length,
        afterStart: o.latents === undefined,
      })
    : undefined;
  const states = denoise(model, samplerRun, noise, guidance, {
    signal: o.signal,
    ...(fresh === undefined
      ? {}
      : { fresh: (evaluation: number) => fresh(evaluation).to({ device: model.device }) }),
  });
  let result: Tensor | undefined;
  for await (const { step, steps, latents } of states) {
    if (step === steps) result = latents.clone();
    const finished = step === steps ? noise.shape[0]! : 0;
    await tell(o.onStep, { step, steps, images: done + finished, totalImages: total });
  }
  throwIfAborted(o.signal);
  return result!;
}

/** Latents (B, 4, h, w), scaled, to pictures. @throws NUMERIC_FAILURE where a picture is not finite */
export async function decode(model: Model, latents: Tensor): Promise<Image[]> {
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

function notFinite({ dtype }: Model): KpopError {
  const remedy =
    dtype === "float16"
      ? 'float16 holds nothing above 65504; load the model with the dtype "bfloat16" or "float32"'
      : "look for what is not finite in the weights, the latents given and the key, or lower guidanceScale";
  return new KpopError("NUMERIC_FAILURE", `A picture came out as NaN or infinite in ${dtype}: ${remedy}`);
}

/** What a picture of `seed` starts from: (1, 4, h, w) standard normal draws, on the CPU. */
export function startingNoise(
  model: Model,
  seed: number,
  { width, height }: { width: number; height: number },
): Tensor {
  const factor = model.vae.downsampling;
  return new Random(seed).normal([1, model.vae.config.latent_channels, height / factor, width / factor]);
}
