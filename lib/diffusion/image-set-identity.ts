import { createHash } from "node:crypto";
import { addon } from "../runtime/binding";
import { VERSION } from "../version";
import type { GenerateOptions } from "./generate";
import { hashChanges, hashInputs } from "./model-hash";
import type { PromptKey } from "./prompt-key";
import type { StableDiffusion } from "./stable-diffusion";

/** The options of `generate` that every picture of a set shares, after defaults. */
export type SharedOptions = Required<
  Pick<
    GenerateOptions,
    | "steps"
    | "guidanceScale"
    | "sampler"
    | "negativePrompt"
    | "width"
    | "height"
    | "keyGuidance"
    | "batchSize"
  >
>;

/** All that the pixels of a set depend on beside prompts and seeds, as JSON can hold it. */
export type ImageSetIdentity = Readonly<Record<string, unknown>>;

/** @throws NOT_FOUND, IO_ERROR, ABORTED */
export async function imageSetIdentity(
  model: StableDiffusion,
  options: SharedOptions,
  key: PromptKey | undefined,
  signal?: AbortSignal,
): Promise<ImageSetIdentity> {
  const { source, device, dtype } = model;
  return {
    versions: { "kpop-native": VERSION, libtorch: addon().builtForTorch },
    weights: Object.values(await hashInputs(model, signal)),
    changes: await hashChanges(model),
    configs: digest([model.unet.config, model.vae.config, model.textEncoder.config, source.scheduler]),
    device,
    dtype,
    key: key === undefined ? null : await hashKey(key),
    ...options,
  };
}

/** 32 hexadecimal digits of SHA-256 over a value's JSON. */
export function digest(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex").slice(0, 32);
}

async function hashKey({ prompt, mechanism, layers, concepts }: PromptKey): Promise<string> {
  const hash = createHash("sha256").update(JSON.stringify([mechanism, layers, concepts, prompt.shape]));
  return hash
    .update(prompt.dtype)
    .update(await prompt.bytes())
    .digest("hex");
}
