import { KpopError } from "../errors";
import type { Config, TensorLocation } from "./checkpoint-types";
import { LDM_PREFIXES, textKeyMap, unetKeyMap, vaeKeyMap } from "./ldm-keys";
import { modernVaeKey, vaeShape } from "./vae-attention-keys";

/** Tensors sorted into those a network takes, by its key, and the rest, by the file's key. */
export interface Placed {
  tensors: Map<string, TensorLocation>;
  extra: Map<string, TensorLocation>;
}

type Shape = readonly number[];
const asStored = (_: string, stored: Shape) => stored;

/** UNet tensors of a diffusers folder. */
export function placeUnet(all: readonly TensorLocation[]): Placed {
  return place(all, (key) => key, asStored);
}

/** Autoencoder tensors of a diffusers folder, under today's attention names. */
export function placeVae(all: readonly TensorLocation[]): Placed {
  return place(all, modernVaeKey, vaeShape);
}

/** Text encoder tensors under keys that have the `text_model.` layer, which some files leave out.
 *  @param options.prefix what precedes every key in the file   @param options.projects whether the network has a projection */
export function placeText(
  all: readonly TensorLocation[],
  { prefix = "", projects = false }: { prefix?: string; projects?: boolean } = {},
): Placed {
  const layer = all.some(({ key }) => key.startsWith(`${prefix}text_model.`));
  const map = textKeyMap(layer);
  return place(all, (full) => {
    const key = full.slice(prefix.length);
    if (projects && key === TEXT_PROJECTION) return key;
    return UNUSED_TEXT.test(key) ? null : (map.toHere(key) ?? key);
  });
}

/** UNet tensors of a single file. A key that the config has no place for keeps its name, so that the network's own
 *  check reports it. */
export function placeLdmUnet(all: readonly TensorLocation[], config: Config): Placed {
  const map = unetKeyMap(config);
  return place(all, (full) => {
    const key = full.slice(LDM_PREFIXES.sd1.unet!.length);
    return map.toHere(key) ?? key;
  });
}

/** Autoencoder tensors of a single file; unknown keys as in `placeLdmUnet`, the training loss's left out. */
export function placeLdmVae(all: readonly TensorLocation[], config: Config): Placed {
  const map = vaeKeyMap(config);
  const rename = (full: string) => {
    const key = full.slice(LDM_PREFIXES.sd1.vae!.length);
    return UNUSED_VAE.test(key) ? null : (map.toHere(key) ?? key);
  };
  return place(all, rename, vaeShape);
}

/** What a text encoder's position_ids are called where they are carried over to another layout; null for other keys. */
export function positionIdsKey(key: string): string | null {
  return key.endsWith("embeddings.position_ids") ? "text_model.embeddings.position_ids" : null;
}

/** What takes the end token's state to a pooled text. */
const TEXT_PROJECTION = "text_projection.weight";

/** Text encoder tensors that its network here has no place for, but for the projection of those that have one. */
const UNUSED_TEXT = /(?:^|\.)position_ids$|^text_projection(?:\.|$)|^logit_scale$/;

/** What an autoencoder's training leaves in its checkpoint. */
const UNUSED_VAE = /^(?:loss|model_ema)\./;

/** @param rename the network's key for a file's key; null for a tensor that no network uses */
function place(
  all: readonly TensorLocation[],
  rename: (key: string) => string | null,
  reshape: (key: string, stored: Shape) => Shape = asStored,
): Placed {
  const tensors = new Map<string, TensorLocation>();
  const extra = new Map<string, TensorLocation>();
  for (const location of all) {
    const key = rename(location.key);
    if (key === null) {
      extra.set(location.key, location);
      continue;
    }
    const other = tensors.get(key);
    if (other !== undefined) {
      throw new KpopError(
        "INVALID_CHECKPOINT",
        `${location.file} gives ${key} twice, as ${other.key} and as ${location.key}`,
      );
    }
    tensors.set(key, { ...location, shape: reshape(key, location.storedShape) });
  }
  return { tensors, extra };
}
