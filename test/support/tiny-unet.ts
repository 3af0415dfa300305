import { unetOperations, type UNetOperation, type UNetShape } from "../../lib/models/unet-operations";

/** One level of two channels, one layer each way: small enough to count by hand. */
export const TINY: UNetShape = {
  in_channels: 4,
  out_channels: 4,
  block_out_channels: [2],
  down_block_types: ["CrossAttnDownBlock2D"],
  up_block_types: ["UpBlock2D"],
  layers_per_block: [1],
  transformer_layers_per_block: [1],
  cross_attention_dim: 3,
  addition_embed_type: "",
  projection_class_embeddings_input_dim: 0,
};

/** Its operations on latents of 4 × 4 and a text of five rows. */
export const tiny = unetOperations(TINY, 4, 5);
export const named = (name: string): UNetOperation => tiny.find((each) => each.name === name)!;
