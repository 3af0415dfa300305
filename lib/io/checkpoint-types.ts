import type { Dtype } from "../runtime/tensor";
import type { FileStamp } from "../files/read-range";
import type { TokenizerFiles } from "./tokenizer-files";
import type { FileDtype } from "./safetensors-dtypes";
import type { SafetensorsHeader } from "./safetensors-header";

/** The networks that checkpoints have, as the model class names them; the last one, Stable Diffusion XL's alone. */
export const COMPONENTS = ["unet", "vae", "textEncoder", "textEncoder2"] as const;
/** One of them. @useDeclaredType */
export type ComponentName = (typeof COMPONENTS)[number];

/** The same networks as diffusers names their folders. */
export const FOLDERS: Readonly<Record<ComponentName, string>> = {
  unet: "unet",
  vae: "vae",
  textEncoder: "text_encoder",
  textEncoder2: "text_encoder_2",
};

/** Name of each network's weight file, without ".safetensors". */
export const STEMS: Readonly<Record<ComponentName, string>> = {
  unet: "diffusion_pytorch_model",
  vae: "diffusion_pytorch_model",
  textEncoder: "model",
  textEncoder2: "model",
};

/** A JSON object as it stands in a config file. @inline */
export type Config = Readonly<Record<string, unknown>>;

/** What changes how a model denoises, beside its weights, as a model's folder holds it. */
export interface InterventionRecord {
  readonly name: string;
  /** Of the settings, by the name's kind. */
  readonly version: number;
  readonly settings: Config;
  /** Where its tensors lie, by name; missing where it has none. */
  readonly tensors?: ReadonlyMap<string, TensorLocation>;
}

/** Where the bytes of one tensor lie. */
export interface TensorLocation {
  /** Absolute path of the safetensors file. */
  readonly file: string;
  /** What the file was when its header was read; a file that has changed since is refused. */
  readonly stamp: FileStamp;
  /** The tensor's name in that file; several tensors that the file has as one, rows below rows, share it. */
  readonly key: string;
  readonly dtype: FileDtype;
  /** As the network takes it. */
  readonly shape: readonly number[];
  /** As the file has it: 1×1 convolutions (C, C, 1, 1) where the network has a linear layer (C, C). */
  readonly storedShape: readonly number[];
  /** Set where the file has a matrix the other way round than the network: (C, D) stored for (D, C). */
  readonly transposed?: true;
  /** First byte, counted from the start of the file. */
  readonly offset: number;
  readonly bytes: number;
  /** Set when a delta supplies the tensor: the place in the checkpoint that it is to be saved to. */
  readonly home?: TensorLocation;
}

/** One safetensors file of a checkpoint. */
export interface WeightFile {
  /** Absolute path. */
  readonly path: string;
  /** Name to save it under, within the component's folder; a variant's mark (".fp16") is left out. */
  readonly name: string;
  readonly stamp: FileStamp;
  readonly header: SafetensorsHeader;
}

/** One network of a checkpoint, its tensors not read yet. */
export interface ComponentSource {
  /** The component's config.json, or what stands for it in a single file. */
  readonly config: Config;
  /** By diffusers key in today's naming (`to_q`, `to_out.0`, `text_model.…`), whatever the file calls them. */
  readonly tensors: ReadonlyMap<string, TensorLocation>;
  /** By the file's own key: tensors that no network here uses (position_ids); saved as they came. */
  readonly extra: ReadonlyMap<string, TensorLocation>;
  readonly files: readonly WeightFile[];
}

/** A checkpoint on disk: configurations, and where every tensor lies. */
export interface CheckpointSource extends Readonly<
  Record<Exclude<ComponentName, "textEncoder2">, ComponentSource>
> {
  /** Stable Diffusion XL's second text encoder; other families have none. */
  readonly textEncoder2?: ComponentSource;
  /** Absolute. */
  readonly path: string;
  readonly format: "diffusers" | "single-file";
  readonly scheduler: Config;
  /** model_index.json; null for a single file. */
  readonly modelIndex: Config | null;
  /** What changes how the model denoises, beside its weights; a single file has none. */
  readonly interventions?: readonly InterventionRecord[];
  /** The file that those have their tensors in. */
  readonly interventionTensors?: WeightFile;
  /** The tokenizer's texts, once they were read for a model: saving does not look for them again. */
  readonly tokenizer?: TokenizerFiles;
  /** The same of the second text encoder's. */
  readonly tokenizer2?: TokenizerFiles;
}

/** The networks that a checkpoint has, each with its name. */
export function networksOf(source: CheckpointSource): [ComponentName, ComponentSource][] {
  return COMPONENTS.flatMap((name): [ComponentName, ComponentSource][] => {
    const network = source[name];
    return network === undefined ? [] : [[name, network]];
  });
}

/** Whether guidance leads away from zeros, and not from the empty text, where no negative prompt is given. */
export function forcesZeros({ textEncoder2, modelIndex }: CheckpointSource): boolean {
  const { force_zeros_for_empty_prompt: forces = true } = modelIndex ?? {};
  return textEncoder2 !== undefined && forces === true;
}

/** What saving needs of a tensor; `Tensor` has it. */
export interface TensorData {
  readonly shape: readonly number[];
  readonly dtype: Dtype;
  to(dtype: Dtype): TensorData;
  bytes(): Promise<Uint8Array>;
  dispose(): void;
}

/** A network's tensor as a model holds it in memory; every key of the source has one. */
export type InMemory = (component: ComponentName, key: string) => TensorData;

/** Tensors that differ from the source, by diffusers key. */
export type ChangedTensors = Readonly<Partial<Record<ComponentName, ReadonlyMap<string, TensorData>>>>;

/** Every weight file of a checkpoint, once each. */
export function weightFiles(source: CheckpointSource): WeightFile[] {
  const files = networksOf(source).flatMap(([, network]) => network.files);
  if (source.interventionTensors !== undefined) files.push(source.interventionTensors);
  return [...new Map(files.map((file) => [file.path, file])).values()];
}
