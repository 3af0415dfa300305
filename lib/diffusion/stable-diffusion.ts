import { filePath, flag, jobOptions, knownKeys, oneOf } from "../check";
import { traced } from "../diagnostics";
import { KpopError, throwIfAborted } from "../errors";
import type { DownloadProgress } from "../hub/download";
import { applyDelta, readDelta } from "../io/checkpoint-delta";
import { readCheckpoint } from "../io/checkpoint-read";
import { compareShapes } from "../io/checkpoint-shapes";
import { toldOf } from "../io/checkpoint-single-file";
import { readTensors } from "../io/checkpoint-tensors";
import { readTokenizer } from "../io/checkpoint-tokenizer";
import {
  FOLDERS,
  forcesZeros,
  networksOf,
  type CheckpointSource,
  type ComponentName,
} from "../io/checkpoint-types";
import { localPath } from "../io/local-path";
import { modelPath } from "../io/model-path";
import { runtimeDtype } from "../io/safetensors-dtypes";
import type { TokenizerFiles } from "../io/tokenizer-files";
import type { Image } from "../io/image";
import { CLIPTextModel } from "../models/clip-text";
import type { Module } from "../models/module";
import { UNet2DConditionModel } from "../models/unet";
import { AutoencoderKL } from "../models/vae";
import { addon, addonReady } from "../runtime/binding";
import { gradEnabled, noGrad } from "../runtime/grad-mode";
import { scope, unscoped } from "../runtime/scope";
import type { Dtype, Tensor } from "../runtime/tensor";
import { CLIPTokenizer } from "../text/clip-tokenizer";
import { modelMaxLength } from "../text/parse-tokenizer";
import { withoutEmpty, type Condition } from "./condition";
import { encodePrompts } from "./conditioning";
import { generate } from "./generate";
import type { GenerateOptions } from "./generate-options";
import { openInterventions } from "./interventions";
import { freeIntervention, shareIntervention, type Intervention } from "./interventions/intervention";
import { checkLearnedTokens, type LearnedToken } from "./learned-tokens";
import type { ComputeDtype, ConditionOptions, Model, ModelParts } from "./model";
import { NoiseSchedule } from "./noise-schedule";
import { predictNoise, type NoisyBatch, type PredictOptions } from "./predict";
import { samplerOfConfig, type SamplerName } from "./samplers";
import { saveModel, type SaveOptions } from "./save-model";

/** Where a model lives. */
export type Device = "auto" | "cpu" | "cuda" | `cuda:${number}`;

/** Bytes of one network that have been read. */
export interface LoadProgress {
  component: ComponentName;
  bytes: number;
  totalBytes: number;
}

/** How a checkpoint is loaded. */
export interface LoadOptions {
  /** Default "auto": the first CUDA device if there is one, else the CPU. */
  device?: Device;
  /** What weights are held and computed in. Default "float32". */
  dtype?: ComputeDtype;
  /** A delta (its file, the folder it was saved into, or its name on a hub) to apply; refused unless it was made from this
   *  checkpoint. */
  delta?: string;
  /** What the network predicts, where a single file does not say: needed of Stable Diffusion 2's. */
  prediction?: "epsilon" | "v";
  /**
   * Whether weights on the CPU whose stored dtype is the one asked for are pages of their file: loading copies nothing, and
   * all processes and worker threads that load the same file share its pages in memory. Default true. What is written to a
   * weight (training, `copyFrom`) goes to private copies of its pages, never to the file. Convolutions of more than 1×1
   * compute in another layout than the file's: each network copies theirs at its first use, or when an erasure starts
   * (63 % of SD-1.4's UNet); all else stays shared.
   *
   * As long as the model lives, its files may be renamed, deleted, or replaced by a rename, as `save` does. A process that
   * writes into them changes the weights, and one that truncates them ends this process by SIGBUS: give false where that
   * may happen. The pictures and erasures are the same either way, to the bit.
   */
  mapped?: boolean;
  signal?: AbortSignal;
  onProgress?(progress: LoadProgress): void;
  /** How far the download of what a hub's name stands for is. */
  onDownload?(progress: DownloadProgress): void;
}

/** Networks that an erasure may train. */
export type TrainedNetwork = Extract<ComponentName, "unet" | "textEncoder">;

/** Networks that a derived model may have weights of its own in. */
export type DerivedNetwork = Exclude<ComponentName, "vae">;

/** A Stable Diffusion 1.x, 2.x or XL checkpoint in memory. */
export class StableDiffusion implements Model {
  readonly unet: UNet2DConditionModel;
  readonly vae: AutoencoderKL;
  readonly textEncoder: CLIPTextModel;
  readonly tokenizer: CLIPTokenizer;
  /** Stable Diffusion XL's second text encoder and its tokenizer; null of other families. */
  readonly textEncoder2: CLIPTextModel | null;
  readonly tokenizer2: CLIPTokenizer | null;
  readonly schedule: NoiseSchedule;
  /** "cpu", "cuda:0", ... */
  readonly device: string;
  readonly dtype: ComputeDtype;
  /** Where the weights came from. */
  readonly source: CheckpointSource;
  /** UNet keys that an erasure trained: what a delta holds. */
  readonly changed: ReadonlySet<string>;
  /** What changes how it denoises, and not its weights: what methods of the kind "inference" leave. */
  readonly interventions: readonly Intervention[];
  /** @internal */
  readonly substitutes?: () => ReadonlyMap<string, Tensor>;

  /** @internal Use `StableDiffusion.load`. */
  constructor(parts: ModelParts) {
    this.unet = parts.unet;
    this.vae = parts.vae;
    this.textEncoder = parts.textEncoder;
    this.tokenizer = parts.tokenizer;
    this.textEncoder2 = parts.textEncoder2;
    this.tokenizer2 = parts.tokenizer2;
    this.schedule = parts.schedule;
    this.source = parts.source;
    this.device = parts.device;
    this.dtype = parts.dtype;
    this.changed = parts.changed;
    this.interventions = parts.interventions;
    if (parts.substitutes !== undefined) this.substitutes = parts.substitutes;
  }

  /**
   * Loads a checkpoint.
   * @param path a diffusers folder, a single-file LDM .safetensors, "hf:user/name[@revision][/path]" on a hub, or "pocket"
   *   or "pocket-xl" (the built-in models, of 1.x's architecture and of XL's)
   * @throws NOT_FOUND, UNSUPPORTED_FORMAT, UNSUPPORTED_MODEL, INVALID_CHECKPOINT, INVALID_SAFETENSORS,
   *   DEVICE_UNAVAILABLE, OUT_OF_MEMORY, ABORTED; what `download` throws
   */
  static async load(path: string, options: LoadOptions = {}): Promise<StableDiffusion> {
    filePath("path", path);
    const listeners = ["onProgress", "onDownload"];
    const known = ["device", "dtype", "delta", "prediction", "mapped", "signal", ...listeners];
    knownKeys("the load options", options, known);
    jobOptions(options, ...listeners);
    flag("mapped", options.mapped ?? true);
    const dtype = oneOf("dtype", options.dtype ?? "float32", ["float32", "bfloat16", "float16"] as const);
    throwIfAborted(options.signal);
    const { device = "auto", delta } = options;
    return traced(
      "kpop-native:load",
      () => ({ path, device, dtype, ...(delta === undefined ? {} : { delta }) }),
      () => StableDiffusion.open(path, dtype, options),
      (model) => ({ device: model.device }),
    );
  }

  private static async open(
    path: string,
    dtype: ComputeDtype,
    options: LoadOptions,
  ): Promise<StableDiffusion> {
    await addonReady();
    const download = { signal: options.signal, onProgress: options.onDownload?.bind(options) };
    const checkpoint = await readCheckpoint(modelPath(await localPath(path, download)), toldOf(options));
    const delta =
      options.delta === undefined ? undefined : await readDelta(await localPath(options.delta, download));
    const source = delta === undefined ? checkpoint : await applyDelta(checkpoint, delta, options);
    const device = resolveDevice(options.device ?? "auto");
    const unet = new UNet2DConditionModel(source.unet.config);
    const vae = new AutoencoderKL(source.vae.config);
    const textEncoder = new CLIPTextModel(source.textEncoder.config);
    const textEncoder2 =
      source.textEncoder2 === undefined
        ? null
        : new CLIPTextModel(source.textEncoder2.config, "text_encoder_2/config.json");
    const networks = { unet, vae, textEncoder, textEncoder2 };
    let interventions: readonly Intervention[] = [];
    try {
      for (const [name, { tensors }] of networksOf(source))
        compareShapes(networks[name]!.parameterShapes(), tensors, [], `${source.path} (${FOLDERS[name]})`);
      const tokenizerFiles = await readTokenizer(source);
      const files2 = textEncoder2 === null ? null : await readTokenizer(source, "tokenizer2");
      const maxLength = textLength(textEncoder, [tokenizerFiles, ...(files2 === null ? [] : [files2])]);
      const tokenizer = await CLIPTokenizer.from(tokenizerFiles, { maxLength });
      const tokenizer2 = files2 && (await CLIPTokenizer.from(files2, { maxLength }));
      if (textEncoder2 !== null) checkSecond(source.path, textEncoder, textEncoder2);
      const schedule = NoiseSchedule.fromConfig(schedulerOf(source));
      interventions = await openInterventions(source, { unet, device }, options.signal);
      for (const [name] of networksOf(source))
        await fill(networks[name]!, name, source, device, dtype, options);
      return new StableDiffusion({
        ...networks,
        tokenizer,
        tokenizer2,
        schedule,
        source: {
          ...source,
          tokenizer: tokenizerFiles,
          ...(files2 === null ? {} : { tokenizer2: files2 }),
        },
        device,
        dtype,
        changed: new Set(),
        interventions,
      });
    } catch (error) {
      for (const network of Object.values(networks)) network?.dispose();
      for (const intervention of interventions) freeIntervention(intervention);
      throw error;
    }
  }

  /** Side of the pictures that the checkpoint was trained for, in pixels. */
  get imageSize(): number {
    const { sample_size: size } = this.source.unet.config;
    const side: unknown = Array.isArray(size) ? size[0] : size;
    return (typeof side === "number" ? side : 64) * this.vae.downsampling;
  }

  /** The sampler of the checkpoint's own scheduler where it is one of ours, else "ddim". */
  get defaultSampler(): SamplerName {
    return samplerOfConfig(this.source.scheduler) ?? "ddim";
  }

  /**
   * Prompts as the UNet's cross-attention takes them: (B, L, d).
   * @param options.tokens learned tokens that the prompts may name
   * @throws INVALID_ARGUMENT
   */
  async encode(
    prompt: string | readonly string[],
    options: { tokens?: readonly LearnedToken[] } = {},
  ): Promise<Tensor> {
    knownKeys("the encode options", options, ["tokens"]);
    const prompts = typeof prompt === "string" ? [prompt] : prompt;
    const { context, pooled } = await this.condition(prompts, options);
    pooled?.dispose();
    return context;
  }

  /** Prompts as predictions are conditioned on them. @throws INVALID_ARGUMENT @internal */
  async condition(prompts: readonly string[], options: ConditionOptions = {}): Promise<Condition> {
    const tokens = checkLearnedTokens(this, options.tokens ?? []);
    const { words, guiding = false, length } = options;
    if (words !== undefined) return encodePrompts(this, prompts, { tokens, words, grad: gradEnabled() });
    return noGrad(async () => {
      const encoded = await encodePrompts(this, prompts, { tokens, length });
      return guiding && forcesZeros(this.source) ? withoutEmpty(encoded) : encoded;
    });
  }

  /**
   * What guidance leads away from where nothing is asked for: the empty text, or zeros in its place, as Stable Diffusion XL
   * was trained and says of itself (`force_zeros_for_empty_prompt`).
   * @internal
   */
  unconditional(): Promise<Condition> {
    return this.condition([""], { guiding: true });
  }

  /**
   * ε(z_t, t, c), as generation, training and attacks see it: steered, where an intervention steers it.
   * @returns (B, 4, h, w) float32
   * @internal
   */
  predict(batch: NoisyBatch, condition: Condition, options: PredictOptions = {}): Promise<Tensor> {
    return predictNoise(this, batch, condition, options);
  }

  /**
   * Pictures for prompts, prompt by prompt.
   * @throws INVALID_ARGUMENT, OUT_OF_MEMORY, ABORTED
   */
  generate(prompt: string | readonly string[], options: GenerateOptions = {}): Promise<Image[]> {
    return generate(this, prompt, options);
  }

  /**
   * Writes the model. Tensors that no method changed have the input's bytes. By force the input itself may be replaced,
   * by a model of the same layout; nothing else is written over it, into it, or around it. If files of the input have
   * changed since they were read, the weights are saved from memory, in the dtypes that those files had, and a process
   * warning (KPOP_SAVED_FROM_MEMORY) says so; a LoRA, and a delta that no erasure made, cannot be.
   * @throws OUTPUT_NOT_EMPTY (unless `force`), INVALID_ARGUMENT, NO_SPACE, IO_ERROR
   */
  save(path: string, options: SaveOptions = {}): Promise<void> {
    return saveModel(this, path, options);
  }

  /**
   * A model with one network of its own: every weight but copies of `own` there is shared with this one, and so are
   * interventions.
   * @internal
   */
  async derive(
    own: ReadonlySet<string>,
    ownDtype?: "float32",
    network: DerivedNetwork = "unet",
    interventions = this.interventions,
  ): Promise<StableDiffusion> {
    const of = (name: DerivedNetwork): Set<string> => new Set(network === name ? own : []);
    const [unet, vae, textEncoder, textEncoder2] = await Promise.all([
      this.unet.share(of("unet"), ownDtype),
      this.vae.share(),
      this.textEncoder.share(of("textEncoder"), ownDtype),
      this.textEncoder2?.share(of("textEncoder2"), ownDtype) ?? null,
    ]);
    const { tokenizer, tokenizer2, schedule, source, device, dtype } = this;
    return new StableDiffusion({
      unet,
      vae,
      textEncoder,
      tokenizer,
      textEncoder2,
      tokenizer2,
      schedule,
      source,
      device,
      dtype,
      changed: new Set([...this.changed, ...of("unet")]),
      interventions: interventions.map(shareIntervention),
    });
  }

  /** This model with other interventions: the same networks, which only one of the two is to free. @internal */
  withInterventions(interventions: readonly Intervention[]): StableDiffusion {
    return new StableDiffusion({ ...this, interventions });
  }

  /** This model predicting with tensors in the place of some weights: the same networks. @internal */
  withSubstitutes(substitutes: () => ReadonlyMap<string, Tensor>): StableDiffusion {
    return new StableDiffusion({ ...this, substitutes });
  }

  /** Frees the weights that no other model shares. Idempotent. */
  dispose(): void {
    this.unet.dispose();
    this.vae.dispose();
    this.textEncoder.dispose();
    this.textEncoder2?.dispose();
    for (const intervention of this.interventions) freeIntervention(intervention);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * L of the texts: what the encoder has places for, or fewer where a tokenizer's config says so, as diffusers' pipelines take
 * them.
 */
function textLength({ config }: CLIPTextModel, tokenizers: readonly TokenizerFiles[]): number {
  const told = tokenizers.map((files) => modelMaxLength(files) ?? Infinity);
  return Math.min(config.max_position_embeddings, ...told);
}

/** The scheduler's config as diffusers' pipelines take it: that of Stable Diffusion 1 and 2 has 1 for any other offset. */
function schedulerOf({ scheduler, textEncoder2 }: CheckpointSource): Record<string, unknown> {
  return { ...scheduler, ...(textEncoder2 === undefined ? { steps_offset: 1, clip_sample: false } : {}) };
}

/** Both text encoders are given the same texts, and ids that attacks look for. @throws INVALID_CHECKPOINT */
function checkSecond(
  path: string,
  { config: first }: CLIPTextModel,
  { config: second }: CLIPTextModel,
): void {
  for (const field of ["max_position_embeddings", "vocab_size"] as const) {
    if (first[field] === second[field]) continue;
    throw new KpopError(
      "INVALID_CHECKPOINT",
      `Expected both text encoders of ${path} to have one ${field} but they have ${first[field]} and ${second[field]}`,
    );
  }
}

function resolveDevice(wanted: string): string {
  if (!/^(auto|cpu|cuda(:\d+)?)$/.test(wanted)) {
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected device to be "auto", "cpu", "cuda" or "cuda:0" and so on but received "${wanted}"`,
    );
  }
  if (wanted === "cpu") return "cpu";
  const count = addon().deviceCount();
  if (wanted === "auto") return count > 0 ? "cuda:0" : "cpu";
  const index = Number(wanted.split(":")[1] ?? 0);
  if (index >= count) {
    throw new KpopError(
      "DEVICE_UNAVAILABLE",
      `Expected a CUDA device ${index} but this machine and libtorch have ${count}; use device "cpu", or see \`kpop-native doctor\``,
    );
  }
  return `cuda:${index}`;
}

/** Maps or reads one network's weights. Memory holds each tensor once, and a stored one only until it is converted. */
async function fill(
  network: Module<object>,
  component: ComponentName,
  source: CheckpointSource,
  device: string,
  dtype: Dtype,
  options: LoadOptions,
): Promise<void> {
  const wanted = new Map(
    network.parameterNames().map((name) => [name, source[component]!.tensors.get(name)!]),
  );
  const { onProgress } = options;
  const mapped = device === "cpu" && options.mapped !== false;
  const tensors = await unscoped(() =>
    readTensors(wanted, {
      mapped: (location) => mapped && runtimeDtype(location.dtype) === dtype,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      ...(onProgress === undefined
        ? {}
        : { onProgress: (p: { bytes: number; totalBytes: number }) => onProgress({ component, ...p }) }),
    }),
  );
  const placed = await scope(async () => {
    const result = new Map<string, Tensor>();
    for (const [name, tensor] of tensors) {
      if (tensor.dtype === dtype && tensor.device === device) {
        result.set(name, tensor);
        continue;
      }
      const converted = tensor.to({ dtype, device });
      result.set(name, converted);
      tensor.dispose();
      await converted.settled();
    }
    return result;
  });
  await network.assign(placed);
  await network.useFastestLayout({ onUse: mapped });
}
