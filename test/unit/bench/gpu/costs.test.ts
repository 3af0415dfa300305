import { adamCost, backwardCost, forwardCost } from "../../../../bench/gpu/costs";
import { floorSeconds, stepCost } from "../../../../bench/gpu/floor";
import { named, TINY, tiny } from "../../../support/tiny-unet";

describe("costs of a pass", () => {
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
