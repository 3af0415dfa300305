import { KpopError } from "../errors";
import type { CheckpointSource, ComponentName, Config } from "./checkpoint-types";
import { KeyMap } from "./key-map";

/** Families that single-file checkpoints of the original code (CompVis, Stability) name their text encoders by. */
export type LdmFamily = "sd1" | "sd2" | "xl";

const IMAGES = { unet: "model.diffusion_model.", vae: "first_stage_model." } as const;

/** What precedes each network's keys in a single file, by family. */
export const LDM_PREFIXES: Readonly<Record<LdmFamily, Readonly<Partial<Record<ComponentName, string>>>>> = {
  sd1: { ...IMAGES, textEncoder: "cond_stage_model.transformer." },
  sd2: { ...IMAGES, textEncoder: "cond_stage_model.model." },
  xl: {
    ...IMAGES,
    textEncoder: "conditioner.embedders.0.transformer.",
    textEncoder2: "conditioner.embedders.1.model.",
  },
};

/** Whether a network is named and joined as OpenCLIP has it, in a family's single files. */
export function isOpenClip(family: LdmFamily, component: ComponentName): boolean {
  return component === "textEncoder2" || (component === "textEncoder" && family === "sd2");
}

/** The family that a checkpoint is of. */
export function ldmFamily({ textEncoder, textEncoder2 }: CheckpointSource): LdmFamily {
  if (textEncoder2 !== undefined) return "xl";
  return textEncoder.config["hidden_act"] === "gelu" ? "sd2" : "sd1";
}

type Pair = readonly [string, string];

/** UNet keys of the original code ↔ diffusers' keys, both without the network's prefix.
 *  The original numbers all blocks of one path in a row (`input_blocks.N.M`); where level and layer of a number lie
 *  follows from the config's levels, layers per level and attention levels. */
export function unetKeyMap(config: Config): KeyMap {
  const down = stringList(config, "down_block_types");
  const up = stringList(config, "up_block_types");
  const layers = layersPerBlock(config, down.length);
  const pairs: Pair[] = [
    ["time_embed.0", "time_embedding.linear_1"],
    ["time_embed.2", "time_embedding.linear_2"],
    ["input_blocks.0.0", "conv_in"],
    ["out.0", "conv_norm_out"],
    ["out.2", "conv_out"],
    ...unetResnet("middle_block.0", "mid_block.resnets.0"),
    ["middle_block.1", "mid_block.attentions.0"],
    ...unetResnet("middle_block.2", "mid_block.resnets.1"),
  ];
  if (config["addition_embed_type"] === "text_time")
    pairs.push(["label_emb.0.0", "add_embedding.linear_1"], ["label_emb.0.2", "add_embedding.linear_2"]);
  let number = 1;
  for (const [level, type] of down.entries()) {
    for (let layer = 0; layer < layers[level]!; layer++, number++) {
      pairs.push(...unetResnet(`input_blocks.${number}.0`, `down_blocks.${level}.resnets.${layer}`));
      if (hasAttention(type))
        pairs.push([`input_blocks.${number}.1`, `down_blocks.${level}.attentions.${layer}`]);
    }
    if (level < down.length - 1) {
      pairs.push([`input_blocks.${number++}.0.op`, `down_blocks.${level}.downsamplers.0.conv`]);
    }
  }
  number = 0;
  for (const [level, type] of up.entries()) {
    const count = layers[down.length - 1 - level]! + 1;
    for (let layer = 0; layer < count; layer++, number++) {
      pairs.push(...unetResnet(`output_blocks.${number}.0`, `up_blocks.${level}.resnets.${layer}`));
      if (hasAttention(type))
        pairs.push([`output_blocks.${number}.1`, `up_blocks.${level}.attentions.${layer}`]);
    }
    if (level < up.length - 1) {
      const place = hasAttention(type) ? 2 : 1;
      pairs.push([`output_blocks.${number - 1}.${place}.conv`, `up_blocks.${level}.upsamplers.0.conv`]);
    }
  }
  return new KeyMap(pairs);
}

/** VAE keys of the original code ↔ diffusers' keys, both without the network's prefix. The original counts the
 *  decoder's levels from the finest, diffusers from the coarsest. */
export function vaeKeyMap(config: Config): KeyMap {
  const levels = stringList(config, "down_block_types").length;
  const layers = layersPerBlock(config, levels)[0]!;
  const pairs: Pair[] = [
    ["quant_conv", "quant_conv"],
    ["post_quant_conv", "post_quant_conv"],
  ];
  for (const side of ["encoder", "decoder"]) {
    pairs.push(
      [`${side}.conv_in`, `${side}.conv_in`],
      [`${side}.norm_out`, `${side}.conv_norm_out`],
      [`${side}.conv_out`, `${side}.conv_out`],
      ...vaeResnet(`${side}.mid.block_1`, `${side}.mid_block.resnets.0`),
      ...vaeResnet(`${side}.mid.block_2`, `${side}.mid_block.resnets.1`),
    );
    const here = `${side}.mid_block.attentions.0`;
    const there = `${side}.mid.attn_1`;
    pairs.push([`${there}.norm`, `${here}.group_norm`], [`${there}.q`, `${here}.to_q`]);
    pairs.push([`${there}.k`, `${here}.to_k`], [`${there}.v`, `${here}.to_v`]);
    pairs.push([`${there}.proj_out`, `${here}.to_out.0`]);
  }
  for (let level = 0; level < levels; level++) {
    const down = `encoder.down_blocks.${level}`;
    const up = `decoder.up_blocks.${levels - 1 - level}`;
    for (let layer = 0; layer <= layers; layer++) {
      if (layer < layers)
        pairs.push(...vaeResnet(`encoder.down.${level}.block.${layer}`, `${down}.resnets.${layer}`));
      pairs.push(...vaeResnet(`decoder.up.${level}.block.${layer}`, `${up}.resnets.${layer}`));
    }
    if (level < levels - 1)
      pairs.push([`encoder.down.${level}.downsample.conv`, `${down}.downsamplers.0.conv`]);
    if (level > 0) pairs.push([`decoder.up.${level}.upsample.conv`, `${up}.upsamplers.0.conv`]);
  }
  return new KeyMap(pairs);
}

/** Text encoder keys ↔ diffusers' keys. Some files leave out the `text_model.` layer; keys here always have it. */
export function textKeyMap(hasTextModelLayer: boolean): KeyMap {
  if (hasTextModelLayer) return new KeyMap([["text_model", "text_model"]]);
  return new KeyMap(
    ["embeddings", "encoder", "final_layer_norm"].map((part) => [part, `text_model.${part}`]),
  );
}

function unetResnet(there: string, here: string): Pair[] {
  return [
    [`${there}.in_layers.0`, `${here}.norm1`],
    [`${there}.in_layers.2`, `${here}.conv1`],
    [`${there}.emb_layers.1`, `${here}.time_emb_proj`],
    [`${there}.out_layers.0`, `${here}.norm2`],
    [`${there}.out_layers.3`, `${here}.conv2`],
    [`${there}.skip_connection`, `${here}.conv_shortcut`],
  ];
}

function vaeResnet(there: string, here: string): Pair[] {
  const same = ["norm1", "conv1", "norm2", "conv2"].map((leaf): Pair => [
    `${there}.${leaf}`,
    `${here}.${leaf}`,
  ]);
  return [...same, [`${there}.nin_shortcut`, `${here}.conv_shortcut`]];
}

function hasAttention(blockType: string): boolean {
  return blockType.includes("Attn");
}

function stringList(config: Config, field: string): string[] {
  const value = config[field];
  if (Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === "string")) {
    return value;
  }
  throw new KpopError("INVALID_CHECKPOINT", `Expected the config's ${field} to be a list of block names`);
}

function layersPerBlock(config: Config, levels: number): number[] {
  const value = config["layers_per_block"] ?? 2;
  const list = Array.isArray(value) ? (value as unknown[]) : Array<unknown>(levels).fill(value);
  if (list.length === levels && list.every((count) => Number.isSafeInteger(count) && (count as number) > 0)) {
    return list as number[];
  }
  throw new KpopError(
    "INVALID_CHECKPOINT",
    "Expected the config's layers_per_block to be a positive integer, or one for each level",
  );
}
