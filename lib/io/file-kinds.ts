import type { ComponentName } from "./checkpoint-types";

/** Marks of the files that this library writes, beside the checkpoint formats. */

/** Name of the manifest beside saved weights. */
export const MANIFEST_FILE = "kpop-run.json";
/** Name of what a run told on its way, beside its manifest. */
export const LOG_FILE = "kpop-log.json";
/** Name of the list, beside the weights, of what changes how the model denoises. */
export const INTERVENTIONS_FILE = "kpop-interventions.json";
/** Name of the tensors that those need beside their settings. */
export const INTERVENTION_TENSORS_FILE = "kpop-interventions.safetensors";
/** Name of the weights in the folder of a result that is one file. */
export const SINGLE_FILE = "model.safetensors";
/** Name of the changed tensors in the folder of a delta. */
export const DELTA_FILE = "delta.safetensors";
/** Name of the factors in the folder of a LoRA. */
export const LORA_FILE = "lora.safetensors";
/** Name of a run's saved state in its checkpoint folder. */
export const RUN_STATE_FILE = "kpop-state.safetensors";
/** `format` in the metadata of a run's saved state. */
export const RUN_STATE_FORMAT = "kpop-run-state-1";
/** `format` in the metadata of a prompt key. */
export const KEY_FORMAT = "kpop-prompt-key";
/** `format` in the metadata of a task vector. */
export const TASK_VECTOR_FORMAT = "kpop-task-vector-1";
/** `format` in the metadata of a sparse autoencoder. */
export const AUTOENCODER_FORMAT = "kpop-sparse-autoencoder-1";
/** `format` in the metadata of a cache's activations. */
export const ACTIVATIONS_FORMAT = "kpop-activations-1";
/** What kohya's names of a LoRA's layers begin with, for models with one text encoder and with two. */
export const LORA_PREFIXES: Readonly<
  Record<"one" | "two", Readonly<Partial<Record<ComponentName, string>>>>
> = {
  one: { unet: "lora_unet", textEncoder: "lora_te" },
  two: { unet: "lora_unet", textEncoder: "lora_te1", textEncoder2: "lora_te2" },
};
/** Those of a model. */
export function loraPrefixes({
  textEncoder2,
}: {
  readonly textEncoder2?: object | null;
}): Readonly<Partial<Record<ComponentName, string>>> {
  return LORA_PREFIXES[(textEncoder2 ?? null) === null ? "one" : "two"];
}
