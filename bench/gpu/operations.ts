/** The parts of a UNet's configuration that decide what a forward costs. */
export interface UNetShape {
  in_channels: number;
  out_channels: number;
  block_out_channels: readonly number[];
  down_block_types: readonly string[];
  up_block_types: readonly string[];
  /** One for each level, or one for all. */
  layers_per_block: readonly number[];
  cross_attention_dim: number;
}

/** One matrix product or convolution of a forward, for one item of a batch. */
export interface Operation {
  /** The checkpoint's key of its weight, without ".weight"; of an attention the module's. */
  name: string;
  /** Multiplications and additions, each counted. */
  flops: number;
  /** Elements of the weight. */
  weights: number;
  /** Elements read and written beside the weight. */
  activations: number;
  /** What comes in: of text and time no gradient is wanted. */
  input: "features" | "text" | "time";
}

/** What a step is made of: operations in FLOP, and bytes to and from memory. */
export interface Cost {
  operations: number;
  bytes: number;
}

/** Which gradients a backward computes. */
export interface Backward {
  /** Whether an operation's weight is trained. */
  trains(name: string): boolean;
  /** The first operation, in forward order, that needs a gradient; default the first trained one. */
  from?: RegExp;
}

/**
 * Every matrix product and convolution of Stable Diffusion 1.x's UNet, in forward order, for one item.
 *
 * Norms, activations and additions are left out: their operations are few, and a floor takes them as fused.
 * @param side of the latents  @param rows of the text, a learned prompt included
 */
export function unetOperations(config: UNetShape, side: number, rows: number): Operation[] {
  const channels = config.block_out_channels;
  const timeWidth = 4 * channels[0]!;
  const layersOf = (level: number): number => config.layers_per_block[level] ?? config.layers_per_block[0]!;
  const list: Operation[] = [];

  const linear = (name: string, from: number, to: number, count: number, input: Operation["input"]): void => {
    const activations = count * (from + to);
    list.push({ name, flops: 2 * count * from * to, weights: from * to, activations, input });
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
    const activations = wide ** 2 * from + out * to;
    list.push({ name, flops: 2 * out * weights, weights, activations, input: "features" });
  };
  const attention = (name: string, width: number, queries: number, keys: number): void => {
    const activations = 2 * width * (queries + keys);
    list.push({ name, flops: 4 * queries * keys * width, weights: 0, activations, input: "features" });
  };
  const resnet = (name: string, from: number, to: number, wide: number): void => {
    convolution(`${name}.conv1`, from, to, 3, wide);
    linear(`${name}.time_emb_proj`, timeWidth, to, 1, "time");
    convolution(`${name}.conv2`, to, to, 3, wide);
    if (from !== to) convolution(`${name}.conv_shortcut`, from, to, 1, wide);
  };
  const transformer = (name: string, width: number, wide: number): void => {
    const cells = wide ** 2;
    const block = `${name}.transformer_blocks.0`;
    convolution(`${name}.proj_in`, width, width, 1, wide);
    for (const [module, source, count] of [
      ["attn1", width, cells],
      ["attn2", config.cross_attention_dim, rows],
    ] as const) {
      const input = module === "attn1" ? "features" : "text";
      linear(`${block}.${module}.to_q`, width, width, cells, "features");
      linear(`${block}.${module}.to_k`, source, width, count, input);
      linear(`${block}.${module}.to_v`, source, width, count, input);
      attention(`${block}.${module}`, width, cells, count);
      linear(`${block}.${module}.to_out.0`, width, width, cells, "features");
    }
    linear(`${block}.ff.net.0.proj`, width, 8 * width, cells, "features");
    linear(`${block}.ff.net.2`, 4 * width, width, cells, "features");
    convolution(`${name}.proj_out`, width, width, 1, wide);
  };

  linear("time_embedding.linear_1", channels[0]!, timeWidth, 1, "time");
  linear("time_embedding.linear_2", timeWidth, timeWidth, 1, "time");
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
        transformer(`${name}.attentions.${layer}`, width, wide);
      skips.push(width);
    }
    if (level === channels.length - 1) continue;
    convolution(`${name}.downsamplers.0.conv`, width, width, 3, wide, 2);
    wide /= 2;
    skips.push(width);
  }

  resnet("mid_block.resnets.0", width, width, wide);
  transformer("mid_block.attentions.0", width, wide);
  resnet("mid_block.resnets.1", width, width, wide);

  for (const [level, to] of [...channels].reverse().entries()) {
    const name = `up_blocks.${level}`;
    for (let layer = 0; layer <= layersOf(channels.length - 1 - level); layer++) {
      resnet(`${name}.resnets.${layer}`, width + skips.pop()!, to, wide);
      width = to;
      if (config.up_block_types[level] === "CrossAttnUpBlock2D")
        transformer(`${name}.attentions.${layer}`, width, wide);
    }
    if (level === channels.length - 1) continue;
    wide *= 2;
    convolution(`${name}.upsamplers.0.conv`, width, width, 3, wide);
  }
  convolution("conv_out", width, config.out_channels, 3, wide);
  return list;
}

/** Operations and bytes of one forward of `batch` items; weights are read once. */
export function forwardCost(list: readonly Operation[], batch: number, elementBytes: number): Cost {
  return total(list.map((each) => passCost(each, batch, elementBytes)));
}

/**
 * Operations and bytes of the backward that belongs to it. The gradient by an operation's input and the one by its
 * weight each cost what its forward costs; of an attention, with two inputs, twice that. Nothing goes back beyond the
 * first operation that needs a gradient.
 */
export function backwardCost(
  list: readonly Operation[],
  batch: number,
  elementBytes: number,
  { trains, from }: Backward,
): Cost {
  const first = list.findIndex(({ name }) => (from === undefined ? trains(name) : from.test(name)));
  if (first < 0) throw new Error("no operation needs a gradient");
  return total(
    list.slice(first).flatMap((each) => {
      const once = passCost(each, batch, elementBytes);
      const byInput = each.input === "features" && each.weights > 0;
      const times = each.weights === 0 ? 2 : Number(byInput) + Number(trains(each.name));
      return Array<Cost>(times).fill(once);
    }),
  );
}

/** Bytes of one Adam step: value, both moments and gradient are read, all but the gradient written; float32. */
export function adamCost(list: readonly Operation[], trains: (name: string) => boolean): Cost {
  const trained = list.filter(({ name }) => trains(name));
  return { operations: 0, bytes: 7 * 4 * trained.reduce((sum, { weights }) => sum + weights, 0) };
}

export function total(costs: readonly Cost[]): Cost {
  return costs.reduce(
    (sum, { operations, bytes }) => ({ operations: sum.operations + operations, bytes: sum.bytes + bytes }),
    { operations: 0, bytes: 0 },
  );
}

function passCost({ flops, weights, activations }: Operation, batch: number, elementBytes: number): Cost {
  return { operations: batch * flops, bytes: (weights + batch * activations) * elementBytes };
}
