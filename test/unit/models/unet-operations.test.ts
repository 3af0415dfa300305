import { readFileSync } from "node:fs";
import { join } from "node:path";
import { UNet2DConditionModel } from "../../../lib/models/unet";
import { unetOperations, type UNetOperation } from "../../../lib/models/unet-operations";
import { golden, pocket } from "../../support/golden";
import { named, TINY } from "../../support/tiny-unet";

const fixture = (family: string): string =>
  join(__dirname, "..", "..", "fixtures", family, "unet", "config.json");

const flopsOf = (list: readonly UNetOperation[]): number => list.reduce((sum, { flops }) => sum + flops, 0);

describe("operations of a UNet", () => {
  it("counts a convolution, a linear layer and an attention as by hand", () => {
    // 4 × 4 cells, 4 → 2 channels, 3 × 3: 16 cells × 2 × 4 × 9 multiplications and as many additions.
    expect(named("conv_in")).toMatchObject({
      flops: 2 * 16 * 2 * 4 * 9,
      weights: 72,
      inputs: 16 * 4,
      outputs: 16 * 2,
    });
    const block = "mid_block.attentions.0.transformer_blocks.0";
    // 5 rows of text, 3 → 2.
    expect(named(`${block}.attn2.to_k`)).toMatchObject({ flops: 2 * 5 * 3 * 2, weights: 6, input: "text" });
    // 16 queries on 5 keys of 2 channels: the scores, and the sum of the values.
    expect(named(`${block}.attn2`)).toMatchObject({ flops: 2 * (2 * 16 * 5 * 2), weights: 0 });
    // The first way up takes the middle's 2 channels and the down block's 2.
    expect(named("up_blocks.0.resnets.0.conv1").weights).toBe(4 * 2 * 9);
  });

  it.each([
    ["pocket", pocket("unet", "config.json")],
    ["small", golden("small", "unet", "config.json")],
    ["wide", golden("wide", "unet", "config.json")],
    ["a Stable Diffusion 2", fixture("v2")],
    ["a Stable Diffusion XL", fixture("xl")],
  ])("has every matrix and kernel of %s", (_name, path) => {
    const raw = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
    const unet = new UNet2DConditionModel(raw);
    const shapes = Object.entries(unet.parameterShapes()).filter(([, shape]) => shape.length > 1);
    const expected = shapes.map(([key, shape]) => [key, shape.reduce((a, b) => a * b, 1)]);
    const counted = unetOperations(unet.config, Number(raw["sample_size"]), 77)
      .filter(({ weights }) => weights > 0)
      .map(({ name, weights }) => [`${name}.weight`, weights]);
    expect(Object.fromEntries(counted)).toEqual(Object.fromEntries(expected));
    unet.dispose();
  });

  // torch 2.13's FlopCounterMode on diffusers' network: multiplications and additions of every product.
  it.each([
    ["pocket", pocket("unet", "config.json"), 16, 24, 516_993_024],
    ["wide", golden("wide", "unet", "config.json"), 16, 77, 323_763_200],
  ])("counts a forward of %s as PyTorch's own counter does", (_name, path, side, rows, reference) => {
    const unet = new UNet2DConditionModel(JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>);
    expect(flopsOf(unetOperations(unet.config, side, rows))).toBe(reference);
    unet.dispose();
  });

  it("counts a forward of Stable Diffusion 1.4 as PyTorch's own counter does", () => {
    const config = {
      ...TINY,
      block_out_channels: [320, 640, 1280, 1280],
      down_block_types: [...Array<string>(3).fill("CrossAttnDownBlock2D"), "DownBlock2D"],
      up_block_types: ["UpBlock2D", ...Array<string>(3).fill("CrossAttnUpBlock2D")],
      layers_per_block: [2],
      cross_attention_dim: 768,
    };
    expect(flopsOf(unetOperations(config, 64, 77))).toBe(803_273_441_280);
  });
});
