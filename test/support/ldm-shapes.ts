/** The names and shapes of published single files from which their configs are told, sizes that do not matter made 1. */

export const UNET = "model.diffusion_model.";
export const VAE = "first_stage_model.";
export const TEXT = "cond_stage_model.transformer.";
const XL = "conditioner.embedders.0.transformer.";

/** Of SD-1.4. */
export function sd14(): Record<string, number[]> {
  const shapes: Record<string, number[]> = {
    [`${UNET}input_blocks.0.0.weight`]: [320, 4, 1, 1],
    [`${UNET}out.2.weight`]: [4, 1, 1, 1],
    [`${VAE}encoder.conv_in.weight`]: [1, 3, 1, 1],
    [`${VAE}decoder.conv_in.weight`]: [1, 4, 1, 1],
    [`${VAE}decoder.conv_out.weight`]: [3, 1, 1, 1],
    [`${TEXT}text_model.embeddings.position_ids`]: [1, 77],
    [`${TEXT}text_model.embeddings.position_embedding.weight`]: [77, 768],
    [`${TEXT}text_model.embeddings.token_embedding.weight`]: [2, 768],
    [`${TEXT}text_model.encoder.layers.0.mlp.fc1.weight`]: [3072, 1],
    alphas_cumprod: [3],
    "model_ema.decay": [1],
  };
  for (const [number, width] of Object.entries({
    1: 320,
    2: 320,
    4: 640,
    5: 640,
    7: 1280,
    8: 1280,
    10: 1280,
    11: 1280,
  })) {
    shapes[`${UNET}input_blocks.${number}.0.in_layers.2.weight`] = [width, 1, 1, 1];
    if (Number(number) > 8) continue;
    shapes[`${UNET}input_blocks.${number}.1.proj_in.weight`] = [width, 1, 1, 1];
    shapes[`${UNET}input_blocks.${number}.1.transformer_blocks.0.attn2.to_k.weight`] = [width, 768];
  }
  for (const number of [3, 6, 9]) shapes[`${UNET}input_blocks.${number}.0.op.weight`] = [1];
  for (const [level, width] of [128, 256, 512, 512].entries()) {
    for (const layer of [0, 1])
      shapes[`${VAE}encoder.down.${level}.block.${layer}.conv1.weight`] = [width, 1, 1, 1];
  }
  for (let layer = 0; layer < 12; layer++)
    shapes[`${TEXT}text_model.encoder.layers.${layer}.layer_norm1.weight`] = [1];
  return shapes;
}

/** Of an OpenCLIP text encoder. */
function openClip(prefix: string, width: number, layers: number): Record<string, number[]> {
  const shapes: Record<string, number[]> = {
    [`${prefix}token_embedding.weight`]: [2, width],
    [`${prefix}positional_embedding`]: [77, width],
    [`${prefix}text_projection`]: [width, width],
    [`${prefix}transformer.resblocks.0.mlp.c_fc.weight`]: [4 * width, 1],
  };
  for (let layer = 0; layer < layers; layer++)
    shapes[`${prefix}transformer.resblocks.${layer}.ln_1.weight`] = [1];
  return shapes;
}

/** Of SD-2.1. */
export function sd2(): Record<string, number[]> {
  const shapes = Object.fromEntries(Object.entries(sd14()).filter(([key]) => !key.startsWith(TEXT)));
  for (const key of Object.keys(shapes)) {
    if (key.endsWith("proj_in.weight")) shapes[key] = shapes[key]!.slice(0, 2);
    if (key.endsWith("attn2.to_k.weight")) shapes[key] = [shapes[key]![0]!, 1024];
  }
  return { ...shapes, ...openClip("cond_stage_model.model.", 1024, 24) };
}

/** Of SDXL. */
export function xl(): Record<string, number[]> {
  const whole = Object.entries(sd14()).map(([key, shape]) => [key.replace(TEXT, XL), shape] as const);
  const shapes = Object.fromEntries(
    whole.filter(([key]) => !/input_blocks\.(?:9|1[01]|[12]\.1)\./.test(key)),
  );
  for (const number of [4, 5, 7, 8]) {
    const at = `${UNET}input_blocks.${number}.1`;
    const width = shapes[`${at}.proj_in.weight`]![0]!;
    shapes[`${at}.proj_in.weight`] = [width, 1];
    shapes[`${at}.transformer_blocks.0.attn2.to_k.weight`] = [width, 2048];
    for (let block = 0; block < (number < 6 ? 2 : 10); block++)
      shapes[`${at}.transformer_blocks.${block}.norm1.weight`] = [1];
  }
  shapes[`${UNET}label_emb.0.0.weight`] = [1280, 2816];
  return { ...shapes, ...openClip("conditioner.embedders.1.model.", 1280, 32) };
}
