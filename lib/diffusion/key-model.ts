import { KpopError } from "../errors";
import { fingerprintUNet } from "./model-hash";
import type { PromptKey } from "./prompt-key";
import type { Model } from "./model";

/** Code of the process warning about a key on a model that it was not made for. */
export const KEY_MISMATCH = "KPOP_KEY_MISMATCH";

const compared = new WeakMap<PromptKey, WeakSet<Model>>();

/** What a key for this model is bound to; undefined where the model's files cannot be read any more. @throws ABORTED */
export async function keyModel(model: Model, signal?: AbortSignal): Promise<string | undefined> {
  try {
    return await fingerprintUNet(model, signal);
  } catch (error) {
    if (error instanceof KpopError && error.code !== "ABORTED") return undefined;
    throw error;
  }
}

/**
 * Warns, once for each key and model (`process.emitWarning`, KPOP_KEY_MISMATCH), where the key was made for another model:
 * its pictures would mean nothing.
 * @throws ABORTED
 */
export async function compareKeyModel(key: PromptKey, model: Model, signal?: AbortSignal): Promise<void> {
  const known = compared.get(key) ?? new WeakSet();
  if (key.model === undefined || known.has(model)) return;
  const own = await keyModel(model, signal);
  compared.set(key, known.add(model));
  if (own === undefined || own === key.model) return;
  process.emitWarning(
    `The key for ${key.concepts.map((concept) => `"${concept}"`).join(", ")} was made for another model than ` +
      `${model.source.path}: it brings the concept back only in the one that it was saved with`,
    { code: KEY_MISMATCH },
  );
}
