import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import { networksOf } from "../../io/checkpoint-types";
import { runtimeDtype } from "../../io/safetensors-dtypes";
import { passElements, savedElements, type GraphExtent } from "../../models/unet-memory";
import { unetOperations, type UNetOperation } from "../../models/unet-operations";
import type { Complete, OptionSet } from "../../options/option";
import type { Keeping } from "../method";
import type { Chosen } from "../open-parts";
import type { Request } from "../request";

/** Bytes of a run where it needs most, by what they hold; together they are the peak. */
export interface MemoryParts {
  /** Weights that are pages of their files. */
  mappedWeights: number;
  /** Weights in memory of their own: converted ones, and convolutions in the layout that they compute in. */
  copiedWeights: number;
  /** Float32 copies of the weights that the method may change, and what it keeps of them beside. */
  masters: number;
  /** Both of Adam's for each number that is learned. */
  moments: number;
  gradients: number;
  /** What the largest graph keeps for its backward. */
  activations: number;
  /** What one pass through the network needs beside, and lets go. */
  working: number;
  /** Noisy latents that are kept, and pictures. */
  latents: number;
  /** Texts as the network takes them. */
  texts: number;
  /** By how much preparing needs more than the iterations do. */
  preparation: number;
  /** The rest of the process: programs, libraries, tokenizer. On a GPU it is the host's, and no part of the peak. */
  process: number;
}

const FLOAT32 = 4;
const FLOAT64 = 8;
/** What libtorch's libraries take when they compute for the first time, beyond loading: measured, with a backward and without. */
const [KERNELS, BACKWARD_KERNELS] = [30e6, 60e6];
/** Pictures decoded together. */
const DECODED = 4;

/**
 * Memory of a run, by the shapes of what it makes.
 * @param resident bytes that the process holds as it is
 */
export function memoryOf(
  base: StableDiffusion,
  request: Request,
  chosen: Chosen,
  resident: number,
): MemoryParts {
  const { method, own, concepts } = request;
  const { resident: loaded, ...weights } = weightBytes(base);
  const shapes = base[chosen.network].parameterShapes();
  const trained = chosen.trained.reduce((sum, name) => sum + size(shapes[name]!), 0);
  const held = textsHeld(request);
  const keeping = method.keeps?.(own, { concepts, held: held > 0, trained, model: base }) ?? {};
  const learned =
    keeping.learned ?? (method.kind === "training" ? learnedElements(request, chosen, base) : 0);
  const factors = request.rank === null ? 0 : 1.5 * learned; // with what the way down began with
  const { activations, working } = networkBytes(base, request, chosen, keeping);
  const training = { moments: 2 * FLOAT32 * learned, gradients: FLOAT32 * learned, activations, working };
  const needed = Object.values(training).reduce((sum, bytes) => sum + bytes, 0);
  return {
    ...weights,
    masters: FLOAT32 * (trained * (1 + (keeping.copies ?? 0)) + factors + (keeping.learned ?? 0)),
    ...training,
    latents: latentBytes(base, own, concepts.length),
    texts: textBytes(base, request, held),
    preparation: Math.max(0, preparationBytes(base, request, chosen, held) - needed),
    process:
      Math.max(0, resident - (base.device === "cpu" ? loaded : 0)) +
      (activations > 0 ? BACKWARD_KERNELS : KERNELS),
  };
}

/** Texts that the method holds in place. */
function textsHeld({ method, own, preserve, neighbours: { choose, count } }: Request): number {
  if (!(method.holds?.(own) ?? method.kind !== "inference")) return 0;
  return preserve.length + (choose === "off" ? 0 : count);
}

/** All of them when a run has begun, and those that are in memory already. */
function weightBytes(base: StableDiffusion) {
  const found = { mappedWeights: 0, copiedWeights: 0, resident: 0 };
  for (const [name, { tensors }] of networksOf(base.source)) {
    const network = base[name]!;
    for (const [key, shape] of Object.entries(network.parameterShapes())) {
      const bytes = size(shape) * elementBytes(base);
      const location = tensors.get(key);
      const pages =
        network.pages !== "none" && location !== undefined && runtimeDtype(location.dtype) === base.dtype;
      // Convolutions of more than 1×1 have a layout of their own.
      const copied = !pages || size(shape.slice(2)) > 1 ? bytes : 0;
      const mapped = pages ? bytes : 0;
      found.mappedWeights += mapped;
      found.copiedWeights += copied;
      if (!pages || network.pages === "read") found.resident += mapped + copied;
    }
  }
  return found;
}

function learnedElements({ rank }: Request, { network, trained }: Chosen, base: StableDiffusion): number {
  const shapes = base[network].parameterShapes();
  const of = (shape: readonly number[]): number =>
    rank === null ? size(shape) : rank * (shape[0]! + size(shape.slice(1)));
  return trained.reduce((sum, name) => sum + of(shapes[name]!), 0);
}

/** Of the UNet, with a graph and without. */
function networkBytes(base: StableDiffusion, { method, own }: Request, chosen: Chosen, keeping: Keeping) {
  const { graph = method.kind === "training" ? 1 : 0, extent = "trained" } = keeping;
  const list = unetOperations(base.unet.config, latentSide(base), rowsOfText(base));
  const batch = numberOf(own, "batchSize", 1);
  const names = new Set(chosen.trained.map((name) => name.replace(/\.weight$/, "")));
  const extents: Record<typeof extent, GraphExtent> = {
    trained: { trains: (name) => names.has(name) },
    whole: { trains: () => true },
    text: { trains: () => false, prompts: (name) => /attn2\.to_[kv]$/.test(name) },
  };
  const element = elementBytes(base);
  const fused = base.device === "cpu";
  // A graph has weights in the dtype that it computes in.
  const cast =
    element === FLOAT32
      ? 0
      : list.reduce((sum, { name, weights }) => sum + (names.has(name) ? weights : 0), 0);
  const pass = passElements(list);
  return {
    activations:
      graph * batch * savedElements(list, { ...extents[extent], fused }) * element +
      (graph > 0 ? cast * element : 0),
    working: graph > 0 ? (batch * pass.item + pass.weights) * element + tileBytes(base, list, batch) : 0,
  };
}

/**
 * What a convolution in tiles takes beside, which are used on a CPU: 36 numbers for each 16 that come in or out and for each
 * 9 of the weights, of each of these 32 MiB at a time.
 */
function tileBytes({ device }: StableDiffusion, list: readonly UNetOperation[], batch: number): number {
  if (device !== "cpu") return 0;
  const part = (elements: number): number => Math.min(2 ** 25, FLOAT32 * elements);
  const needed = list
    .filter(({ name }) => /\.conv[12]?$/.test(name))
    .map(
      (each) => part(2.25 * batch * each.inputs) + part(2.25 * batch * each.outputs) + part(4 * each.weights),
    );
  return Math.max(...needed);
}

function latentBytes(base: StableDiffusion, own: Complete<OptionSet>, concepts: number): number {
  const one = FLOAT32 * base.unet.config.in_channels * latentSide(base) ** 2;
  const pool = own["latents"] === "pool" ? numberOf(own, "poolSize", 0) : 0;
  const images = "images" in own ? concepts * numberOf(own, "images", 0) : 0;
  const picture = own["augment"] === true ? 3 * base.imageSize ** 2 : one * (own["mirror"] === true ? 2 : 1);
  return pool * one + images * picture;
}

function textBytes(base: StableDiffusion, { method, own, concepts }: Request, held: number): number {
  const phrasings = Array.isArray(own["templates"]) ? own["templates"].length : 1;
  const texts = held + concepts.length * phrasings + 2;
  // A closed form takes rows in float64, and some of them twice.
  const element = method.kind === "closed form" ? 2 * FLOAT64 : elementBytes(base);
  return texts * rowsOfText(base) * base.unet.config.cross_attention_dim * element;
}

/** What is needed before the first iteration: second moments of texts for the filter of steps, or pictures. */
function preparationBytes(
  base: StableDiffusion,
  request: Request,
  { trained }: Chosen,
  held: number,
): number {
  const { own, concepts, neighbours } = request;
  const filters =
    numberOf(own, "spare", 0) > 0 &&
    neighbours.choose !== "off" &&
    trained.some((name) => /attn2\.to_[kv]\.weight$/.test(name));
  const width = base.unet.config.cross_attention_dim;
  const moments = filters ? 2 * (held + concepts.length) * width ** 2 * FLOAT32 : 0;
  if (!("images" in own)) return moments;
  const [first = 0, second = first] = base.vae.config.block_out_channels;
  const decoding = DECODED * (first + 3 * second) * base.imageSize ** 2 * elementBytes(base);
  return Math.max(moments, decoding);
}

function elementBytes({ dtype }: StableDiffusion): number {
  return dtype === "float32" ? FLOAT32 : 2;
}

function latentSide({ imageSize, vae }: StableDiffusion): number {
  return imageSize / vae.downsampling;
}

function rowsOfText({ textEncoder }: StableDiffusion): number {
  return textEncoder.config.max_position_embeddings;
}

function numberOf(own: Complete<OptionSet>, name: string, otherwise: number): number {
  const value: unknown = own[name];
  return typeof value === "number" ? value : otherwise;
}

function size(shape: readonly number[]): number {
  return shape.reduce((product, side) => product * side, 1);
}
