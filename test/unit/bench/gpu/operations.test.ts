import { readFileSync } from "node:fs";
import { UNet2DConditionModel } from "../../../../lib/models/unet";
import { floorSeconds, stepCost } from "../../../../bench/gpu/floor";
import { adamCost, backwardCost, forwardCost, unetOperations } from "../../../../bench/gpu/operations";
import { golden, pocket } from "../../../support/golden";

/** One level of two channels, one layer each way: small enough to count by hand. */
const TINY = {
  in_channels: 4,
  out_channels: 4,
  block_out_channels: [2],
  down_block_types: ["CrossAttnDownBlock2D"],
  up_block_types: ["UpBlock2D"],
  layers_per_block: [1],
  cross_attention_dim: 3,
};

const tiny = unetOperations(TINY, 4, 5);
const named = (name: string) => tiny.find((each) => each.name === name)!;

describe("operations of a UNet", () => {
  it("counts a convolution, a linear layer and an attention as by hand", () => {
    // 4 × 4 cells, 4 → 2 channels, 3 × 3: 16 cells × 2 × 4 × 9 multiplications and as many additions.
    expect(named("conv_in")).toMatchObject({
      flops: 2 * 16 * 2 * 4 * 9,
      weights: 72,
      activations: 16 * (4 + 2),
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
    expect(forwardCost(unetOperations(unet.config, side, rows), 1, 4).operations).toBe(reference);
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
    expect(forwardCost(unetOperations(config, 64, 77), 1, 2).operations).toBe(803_273_441_280);
  });

  it("reads weights once a batch and activations for each item", () => {
    const one = forwardCost([named("conv_in")], 1, 2);
    const four = forwardCost([named("conv_in")], 4, 2);
    expect(one).toEqual({ operations: 2304, bytes: 2 * (72 + 96) });
    expect(four).toEqual({ operations: 4 * 2304, bytes: 2 * (72 + 4 * 96) });
  });

  it("goes back to the first operation that needs a gradient, and no further", () => {
    const last = named("conv_out"); // 2304 operations
    const trains = (name: string) => name === "conv_out";
    // By its weight and by its input.
    expect(backwardCost(tiny, 1, 4, { trains }).operations).toBe(2 * last.flops);
    // By its input alone.
    expect(backwardCost(tiny, 1, 4, { trains: () => false, from: /^conv_out$/ }).operations).toBe(last.flops);
    expect(() => backwardCost(tiny, 1, 4, { trains: () => false })).toThrow("no operation needs a gradient");
  });

  it("has no gradient for text, and two for an attention", () => {
    const block = "mid_block.attentions.0.transformer_blocks.0.attn2";
    const pair = [named(`${block}.to_k`), named(block)];
    const trains = (name: string) => name.endsWith("to_k");
    expect(backwardCost(pair, 1, 4, { trains }).operations).toBe(pair[0]!.flops + 2 * pair[1]!.flops);
  });

  it("moves seven float32 numbers for each weight that Adam steps", () => {
    expect(adamCost(tiny, (name) => name === "conv_out")).toEqual({ operations: 0, bytes: 7 * 4 * 72 });
  });
});

describe("a step's cost", () => {
  const sizes = { side: 4, tokens: 5, promptRows: 2, caBatch: 4, elementBytes: 2 };

  it("is two evaluations for a guided denoising step", () => {
    expect(stepCost("generate", TINY, sizes)).toEqual(forwardCost(tiny, 2, 2));
  });

  it("grows with the method's evaluations: ESD's four, KPOP's six", () => {
    const forward = forwardCost(tiny, 1, 2).operations;
    const back = backwardCost(tiny, 1, 2, { trains: (name) => name.includes("attn2.to_") }).operations;
    expect(stepCost("esd", TINY, sizes)!.operations).toBe(4 * forward + back);
    const kpop = stepCost("kpop", TINY, sizes)!.operations;
    expect(kpop).toBeGreaterThan(6 * forward + 2 * back);
    expect(kpop).toBeLessThan(6 * forward + 4 * back);
  });

  it("is not counted for a method whose step it does not know", () => {
    expect(stepCost("uce", TINY, sizes)).toBeNull();
  });

  it("has the larger of both times as its floor", () => {
    expect(floorSeconds({ operations: 790e12, bytes: 4.3e12 / 2 })).toBe(1);
    expect(floorSeconds({ operations: 790e12 / 2, bytes: 4.3e12 })).toBe(1);
  });
});
