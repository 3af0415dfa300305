import type { UNetConfig } from "./unet";

/** The parts of a UNet's configuration that decide what a forward costs. */
export type UNetShape = Pick<
  UNetConfig,
  | "in_channels"
  | "out_channels"
  | "block_out_channels"
  | "down_block_types"
  | "up_block_types"
  | "layers_per_block"
  | "transformer_layers_per_block"
  | "cross_attention_dim"
  | "addition_embed_type"
  | "projection_class_embeddings_input_dim"
>;

/** One matrix product or convolution of a forward, for one item of a batch. */
export interface UNetOperation {
  /** The checkpoint's key of its weight, without ".weight"; of an attention the module's. */
  name: string;
  /** Multiplications and additions, each counted. */
  flops: number;
  /** Elements of the weight. */
  weights: number;
  /** Elements that come in, beside the weight. */
  inputs: number;
  /** Elements that come out. */
  outputs: number;
  /** What comes in: of text and time no gradient is wanted. */
  input: "features" | "text" | "time";
}

/**
 * Every matrix product and convolution of a UNet of Stable Diffusion 1.x, 2.x or XL, in forward order, for one item.
 *
 * Norms, activations and additions are left out: their operations are few, and a floor takes them as fused.
 * @param side of the latents  @param rows of the text, a learned prompt included
 */
export function unetOperations(config: UNetShape, side: number, rows: number): UNetOperation[] {
  const channels = config.block_out_channels;
  const timeWidth = 4 * channels[0]!;
  const layersOf = (level: number): number => config.layers_per_block[level] ?? config.layers_per_block[0]!;
  const depths = config.transformer_layers_per_block;
  const depthOf = (level: number): number => depths[level] ?? depths[0]!;
  const list: UNetOperation[] = [];

  const linear = (name: string, from: number, to: number, count: number, input: UNetOperation["input"]): void => {
    const [inputs, outputs] = [count * from, count * to];
    list.push({ name, flops: 2 * count * from * to, weights: from * to, inputs, outputs, input });
  };
  const convolution = (
    name: string,
    from: number,
    to: number,
    kernel: number,
    wide: number,
    stride = 1,
  ): void => {
    const out = (wide / stride) ** 2;
    const weights = from * to * kernel ** 2;
    const [inputs, outputs] = [wide ** 2 * from, out * to];
    list.push({ name, flops: 2 * out * weights, weights, inputs, outputs, input: "features" });
  };
  const attention = (name: string, width: number, queries: number, keys: number): void => {
    const [inputs, outputs] = [width * (queries + 2 * keys), width * queries];
    list.push({ name, flops: 4 * queries * keys * width, weights: 0, inputs, outputs, input: "features" });
  };
  const resnet = (name: string, from: number, to: number, wide: number): void => {
    convolution(`${name}.conv1`, from, to, 3, wide);
    linear(`${name}.time_emb_proj`, timeWidth, to, 1, "time");
    convolution(`${name}.conv2`, to, to, 3, wide);
    if (from !== to) convolution(`${name}.conv_shortcut`, from, to, 1, wide);
  };
  const block = (name: string, width: number, cells: number): void => {
    for (const [module, source, count] of [
      ["attn1", width, cells],
      ["attn2", config.cross_attention_dim, rows],
    ] as const) {
      const input = module === "attn1" ? "features" : "text";
      linear(`${name}.${module}.to_q`, width, width, cells, "features");
      linear(`${name}.${module}.to_k`, source, width, count, input);
      linear(`${name}.${module}.to_v`, source, width, count, input);
      attention(`${name}.${module}`, width, cells, count);
      linear(`${name}.${module}.to_out.0`, width, width, cells, "features");
    }
    linear(`${name}.ff.net.0.proj`, width, 8 * width, cells, "features");
    linear(`${name}.ff.net.2`, 4 * width, width, cells, "features");
  };
  const transformer = (name: string, width: number, wide: number, depth: number): void => {
    convolution(`${name}.proj_in`, width, width, 1, wide);
    for (let at = 0; at < depth; at++) block(`${name}.transformer_blocks.${at}`, width, wide ** 2);
    convolution(`${name}.proj_out`, width, width, 1, wide);
  };

  linear("time_embedding.linear_1", channels[0]!, timeWidth, 1, "time");
  linear("time_embedding.linear_2", timeWidth, timeWidth, 1, "time");
  if (config.addition_embed_type === "text_time") {
    linear("add_embedding.linear_1", config.projection_class_embeddings_input_dim, timeWidth, 1, "time");
    linear("add_embedding.linear_2", timeWidth, timeWidth, 1, "time");
  }
  convolution("conv_in", config.in_channels, channels[0]!, 3, side);

  // Down; what the way up takes in again is noted on the way.
  const skips: number[] = [channels[0]!];
  let wide = side;
  let width = channels[0]!;
  for (const [level, to] of channels.entries()) {
    const name = `down_blocks.${level}`;
    for (let layer = 0; layer < layersOf(level); layer++) {
      resnet(`${name}.resnets.${layer}`, width, to, wide);
      width = to;
      if (config.down_block_types[level] === "CrossAttnDownBlock2D")
        transformer(`${name}.attentions.${layer}`, width, wide, depthOf(level));
      skips.push(width);
    }
    if (level === channels.length - 1) continue;
    convolution(`${name}.downsamplers.0.conv`, width, width, 3, wide, 2);
    wide /= 2;
    skips.push(width);
  }

  resnet("mid_block.resnets.0", width, width, wide);
  transformer("mid_block.attentions.0", width, wide, depthOf(channels.length - 1));
  resnet("mid_block.resnets.1", width, width, wide);

  for (const [level, to] of [...channels].reverse().entries()) {
    const name = `up_blocks.${level}`;
    for (let layer = 0; layer <= layersOf(channels.length - 1 - level); layer++) {
      resnet(`${name}.resnets.${layer}`, width + skips.pop()!, to, wide);
      width = to;
      if (config.up_block_types[level] === "CrossAttnUpBlock2D")
        transformer(`${name}.attentions.${layer}`, width, wide, depthOf(channels.length - 1 - level));
    }
    if (level === channels.length - 1) continue;
    wide *= 2;
    convolution(`${name}.upsamplers.0.conv`, width, width, 3, wide);
  }
  convolution("conv_out", width, config.out_channels, 3, wide);
  return list;
}
