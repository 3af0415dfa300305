import type { Complete, Given } from "../options/option";
import type { DRAWING_OPTIONS } from "./generate-options";
import { contentOf, modelIdentity } from "./identity";
import type { SIZE_OPTIONS } from "./picture-sizes";
import type { PromptKey } from "./prompt-key";
import type { StableDiffusion } from "./stable-diffusion";

/** The options of `generate` that every picture of a set shares, after defaults. @inline */
export type SharedOptions = {
  [
    K in Exclude<keyof typeof DRAWING_OPTIONS, "key" | "negativePrompt" | keyof typeof SIZE_OPTIONS>
  ]: NonNullable<Complete<typeof DRAWING_OPTIONS>[K]>;
} & { readonly negativePrompt?: string } & Given<typeof SIZE_OPTIONS>;

/** All that the pixels of a set depend on beside prompts and seeds, as JSON can hold it. */
export type ImageSetIdentity = Readonly<Record<string, unknown>>;

/** @throws NOT_FOUND, IO_ERROR, ABORTED */
export async function imageSetIdentity(
  model: StableDiffusion,
  options: SharedOptions,
  key: PromptKey | undefined,
  signal?: AbortSignal,
): Promise<ImageSetIdentity> {
  return {
    ...(await modelIdentity(model, signal)),
    key: key === undefined ? null : await contentOf({ ...key }),
    ...options,
  };
}
