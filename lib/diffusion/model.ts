import type { CheckpointSource } from "../io/checkpoint-types";
import type { CLIPTextModel } from "../models/clip-text";
import type { UNet2DConditionModel } from "../models/unet";
import type { AutoencoderKL } from "../models/vae";
import type { Tensor } from "../runtime/tensor";
import type { CLIPTokenizer } from "../text/clip-tokenizer";
import type { Condition } from "./condition";
import type { Intervention } from "./interventions/intervention";
import type { LearnedToken } from "./learned-tokens";
import type { NoiseSchedule } from "./noise-schedule";
import type { SamplerName } from "./samplers";

/** What weights are held and computed in. */
export type ComputeDtype = "float32" | "bfloat16" | "float16";

/** What a model is made of. */
export interface ModelParts {
  readonly unet: UNet2DConditionModel;
  readonly vae: AutoencoderKL;
  readonly textEncoder: CLIPTextModel;
  readonly tokenizer: CLIPTokenizer;
  /** Stable Diffusion XL's second; null of other families. */
  readonly textEncoder2: CLIPTextModel | null;
  readonly tokenizer2: CLIPTokenizer | null;
  readonly schedule: NoiseSchedule;
  /** "cpu", "cuda:0", ... */
  readonly device: string;
  readonly dtype: ComputeDtype;
  /** Where the weights came from. */
  readonly source: CheckpointSource;
  /** UNet keys whose weights are no longer the source's. */
  readonly changed: ReadonlySet<string>;
  readonly interventions: readonly Intervention[];
  /** Tensors in the place of some of the UNet's weights, made for each prediction. */
  readonly substitutes?: () => ReadonlyMap<string, Tensor>;
}

/** What texts are encoded with. */
export interface ConditionOptions {
  /** Learned tokens that they may name. */
  readonly tokens?: readonly LearnedToken[];
  /** Learned words that stand behind every one, (k, d) or (B, k, d); gradients go to them. */
  readonly words?: Tensor;
  /**
   * Whether an empty text stands for what guidance leads away from where nothing is asked for, and is zeros where the
   * checkpoint says so. Default false: it is a text.
   */
  readonly guiding?: boolean;
  /**
   * Token states that are read of each text, from the first on: of those behind, what only pads may be left out. A state
   * depends on none behind it. Default: all L. Not together with `words`.
   */
  readonly length?: number;
}

/** A model, as what draws with it, hashes it and saves it takes one. */
export interface Model extends ModelParts {
  readonly imageSize: number;
  readonly defaultSampler: SamplerName;
  condition(prompts: readonly string[], options?: ConditionOptions): Promise<Condition>;
  unconditional(): Promise<Condition>;
}
