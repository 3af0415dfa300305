import { KpopError } from "../errors";
import type { Placed } from "./checkpoint-place";
import type { TensorLocation } from "./checkpoint-types";
import { KeyMap } from "./key-map";

/** What the attention's three projections are called here, in the order in which OpenCLIP stacks their rows. */
const STACKED = ["q_proj", "k_proj", "v_proj"] as const;

/** OpenCLIP's projection of pooled texts, the other way round than transformers' `text_projection.weight`. */
const PROJECTION = "text_projection";

const IN_PROJ = /^(transformer\.resblocks\.(\d+)\.attn)\.in_proj_(weight|bias)$/;
const SPLIT = /^text_model\.encoder\.layers\.(\d+)\.self_attn\.([qkv]_proj)\.(weight|bias)$/;

/** How OpenCLIP's file has a tensor of a text encoder that is called otherwise in transformers. */
export interface OpenClipName {
  readonly name: string;
  /** Which of the parts, rows below rows, that the file has as one tensor. */
  readonly part?: number;
  readonly transposed?: true;
}

/** OpenCLIP's keys ↔ transformers', but for those that are stacked or the other way round. @param layers of the network */
function keyMap(layers: number): KeyMap {
  const pairs: [string, string][] = [
    ["token_embedding", "text_model.embeddings.token_embedding"],
    ["positional_embedding", "text_model.embeddings.position_embedding.weight"],
    ["ln_final", "text_model.final_layer_norm"],
  ];
  for (let layer = 0; layer < layers; layer++) {
    const [there, here] = [`transformer.resblocks.${layer}`, `text_model.encoder.layers.${layer}`];
    pairs.push(
      [`${there}.ln_1`, `${here}.layer_norm1`],
      [`${there}.ln_2`, `${here}.layer_norm2`],
      [`${there}.attn.out_proj`, `${here}.self_attn.out_proj`],
      [`${there}.mlp.c_fc`, `${here}.mlp.fc1`],
      [`${there}.mlp.c_proj`, `${here}.mlp.fc2`],
    );
  }
  return new KeyMap(pairs);
}

/**
 * The text encoder of a single file of Stable Diffusion 2 or XL, which is named and joined as OpenCLIP has it.
 * @param options.prefix what precedes every key in the file
 * @param options.layers of the network; the file may have one more, which Stable Diffusion 2 leaves out
 * @param options.projects whether the network has a projection
 */
export function placeOpenClip(
  all: readonly TensorLocation[],
  { prefix, layers, projects }: { prefix: string; layers: number; projects: boolean },
): Placed {
  const map = keyMap(layers);
  const tensors = new Map<string, TensorLocation>();
  const extra = new Map<string, TensorLocation>();
  for (const location of all) {
    const key = location.key.slice(prefix.length);
    const stacked = IN_PROJ.exec(key);
    if (stacked !== null && Number(stacked[2]) < layers) {
      for (const [own, part] of partsOf(location).entries())
        tensors.set(`text_model.encoder.layers.${stacked[2]}.self_attn.${STACKED[own]}.${stacked[3]}`, part);
    } else if (key === PROJECTION && projects) {
      const shape = [...location.storedShape].reverse();
      tensors.set("text_projection.weight", { ...location, shape, transposed: true });
    } else {
      const here = map.toHere(key);
      if (here === null) extra.set(location.key, location);
      else tensors.set(here, location);
    }
  }
  return { tensors, extra };
}

/** Queries', keys' and values' rows of one stored tensor. @throws INVALID_CHECKPOINT when it is no three of them */
function partsOf(location: TensorLocation): TensorLocation[] {
  const [rows = 0, ...rest] = location.storedShape;
  if (rows % STACKED.length !== 0)
    throw new KpopError(
      "INVALID_CHECKPOINT",
      `Expected ${location.key} of ${location.file} to have rows for queries, keys and values, but it has ${rows}`,
    );
  const bytes = location.bytes / STACKED.length;
  const shape = [rows / STACKED.length, ...rest];
  return STACKED.map((_, part) => ({
    ...location,
    shape,
    storedShape: shape,
    offset: location.offset + part * bytes,
    bytes,
  }));
}

/** What OpenCLIP's file calls a tensor of the text encoder; null where it has no place for it. @param layers of the network */
export function openClipNames(layers: number): (key: string) => OpenClipName | null {
  const map = keyMap(layers);
  return (key) => {
    const split = SPLIT.exec(key);
    if (split !== null)
      return {
        name: `transformer.resblocks.${split[1]}.attn.in_proj_${split[3]}`,
        part: STACKED.indexOf(split[2] as (typeof STACKED)[number]),
      };
    if (key === "text_projection.weight") return { name: PROJECTION, transposed: true };
    const name = map.toThere(key);
    return name === null ? null : { name };
  };
}
