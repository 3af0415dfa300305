import type { InterventionRecord } from "./checkpoint-types";
import type { ComponentName, Config } from "./checkpoint-types";

/** What `inspect` found; `kind` tells which. Paths are absolute. */
export type Inspection =
  | ModelInspection
  | RunFolderInspection
  | DeltaInspection
  | LoraInspection
  | KeyInspection
  | RunStateInspection
  | ManifestInspection
  | SafetensorsInspection;

/** One weight file. */
export interface FileSummary {
  path: string;
  bytes: number;
  /** With `hash` only: 64 hexadecimal digits. */
  sha256?: string;
}

/** Tensors in sum. */
export interface TensorSummary {
  tensors: number;
  /** Elements of all tensors: a network's parameter count. */
  elements: number;
  /** Elements by the dtype that the file stores them in: "F32", "F16", … */
  dtypes: Record<string, number>;
}

/** What changes how a model denoises; with its tensors in sum where it has some. @interface */
export type InterventionSummary = Omit<InterventionRecord, "tensors"> & Partial<TensorSummary>;

/** A Stable Diffusion checkpoint that `StableDiffusion.load` takes. */
export interface ModelInspection {
  kind: "model";
  path: string;
  format: "diffusers" | "single-file";
  components: Record<Exclude<ComponentName, "textEncoder2">, TensorSummary & { config: Config }> & {
    /** Stable Diffusion XL's second text encoder. */
    textEncoder2?: TensorSummary & { config: Config };
  };
  scheduler: Config;
  /** What changes how it denoises, beside its weights; missing where there is nothing. */
  interventions?: readonly InterventionSummary[];
  files: FileSummary[];
  /** kpop-run.json, when it stands beside the weights. */
  run?: Config;
}

/** A folder with a run manifest or a run's state, and no diffusers checkpoint. */
export interface RunFolderInspection {
  kind: "run-folder";
  path: string;
  run?: Config;
  contents: Inspection[];
}

/** Tensors to put into a base checkpoint. */
export interface DeltaInspection extends TensorSummary {
  kind: "delta";
  path: string;
  /** Content hash of each network of the base. */
  base: Partial<Record<ComponentName, string>>;
  /** Changed tensors of each network. */
  changed: Partial<Record<ComponentName, number>>;
  run: Config;
  files: FileSummary[];
}

/** Low-rank changes of a base checkpoint's layers, under kohya's keys. */
export interface LoraInspection extends TensorSummary {
  kind: "lora";
  path: string;
  /** Changed layers of each network that has some. */
  layers: Partial<Record<ComponentName, number>>;
  /** The smallest and the largest rank of a layer. */
  ranks: [smallest: number, largest: number];
  /** The share of the squared change that it holds, where kpop-native wrote it. */
  kept?: number;
  /** Changed tensors that it has no place for, where kpop-native wrote it. */
  leftOut?: string[];
  /** The run that made it, where kpop-native wrote it. */
  run?: Config;
  files: FileSummary[];
}

/** A prompt key. All but `encrypted` is missing when the passphrase hides it. */
export interface KeyInspection {
  kind: "key";
  path: string;
  encrypted: boolean;
  concepts?: string[];
  /** "free" or "amortised". */
  form?: string;
  /** "cross-attention" or "token". */
  place?: string;
  /** Of a prompt in cross-attention. */
  mechanism?: string;
  layers?: string | string[];
  shape?: number[];
  /** Hidden units of an amortised one. */
  hidden?: number;
  /** Fingerprint of the UNet that it was made for. */
  model?: string;
  files: FileSummary[];
}

/** The saved state of an unfinished or finished run. */
export interface RunStateInspection extends TensorSummary {
  kind: "run-state";
  path: string;
  iteration: number;
  /** Of the whole run; missing when no iteration was done. */
  iterations?: number;
  losses?: Record<string, number>;
  seconds: number;
  files: FileSummary[];
}

/** A run manifest by itself. */
export interface ManifestInspection {
  kind: "run-manifest";
  path: string;
  run: Config;
}

/** Any other safetensors file. */
export interface SafetensorsInspection extends TensorSummary {
  kind: "safetensors";
  path: string;
  metadata: Record<string, string>;
  /** Shapes and stored dtypes by name, in the order of the data. */
  entries: Record<string, { dtype: string; shape: number[] }>;
  /** Why it cannot be loaded as a model. */
  note: string;
  files: FileSummary[];
}
