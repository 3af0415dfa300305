import { UNet2DConditionModel } from "../../../lib/models/unet";
import { Random } from "../../../lib/runtime/random";
import { Tensor } from "../../../lib/runtime/tensor";
import { relativeError } from "../../support/compare";

const SMALL = {
  block_out_channels: [8, 16],
  down_block_types: ["CrossAttnDownBlock2D", "DownBlock2D"],
  up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D"],
  layers_per_block: 1,
  norm_num_groups: 4,
  cross_attention_dim: 12,
  attention_head_dim: 2,
};

/** A network with drawn weights: 0.1 N(0, 1), the same for the same names and shapes. */
async function filled(config: Record<string, unknown>): Promise<UNet2DConditionModel> {
  const unet = new UNet2DConditionModel({ ...SMALL, ...config });
  const draw = new Random(3);
  const weights = Object.entries(unet.parameterShapes()).map(
    ([name, shape]) => [name, draw.at(name).normal(shape).mul(0.1)] as const,
  );
  await unet.assign(new Map(weights));
  return unet;
}

const sample = (h = 8, w = 8): Tensor => new Random(1).normal([2, 4, h, w]);
const context = (): Tensor => new Random(2).normal([2, 5, 12]);

describe("promptLayers", () => {
  const unet = new UNet2DConditionModel(SMALL);
  const down = "down_blocks.0.attentions.0.transformer_blocks.0.attn2";
  const mid = "mid_block.attentions.0.transformer_blocks.0.attn2";
  const up = ["up_blocks.1.attentions.0", "up_blocks.1.attentions.1"].map((name) => `${name}.transformer_blocks.0.attn2`);

  it("names every cross-attention module in forward order", () => {
    expect(unet.crossAttentionNames()).toEqual([down, mid, ...up]);
    expect(unet.promptLayers("all")).toEqual([down, mid, ...up]);
  });

  it("takes the middle block's, or those and the up blocks'", () => {
    expect(unet.promptLayers("mid")).toEqual([mid]);
    expect(unet.promptLayers("mid-up")).toEqual([mid, ...up]);
  });

  it("takes modules by name", () => {
    expect(unet.promptLayers([up[1]!, down])).toEqual([up[1], down]);
  });

  it("refuses unknown names, other words and an empty list", () => {
    for (const layers of [["mid_block"], [`${mid}.to_k`], "down", [], 3])
      expect(() => unet.promptLayers(layers as string[])).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(/prompt\.layers/) }),
      );
  });
});

describe("the UNet's configuration", () => {
  it.each([
    ["conv_in_kernel", 5],
    ["only_cross_attention", true],
    ["time_embedding_type", "fourier"],
    ["class_embed_type", "timestep"],
    ["addition_embed_type", "image"],
    ["dual_cross_attention", true],
    ["resnet_time_scale_shift", "scale_shift"],
    ["down_block_types", ["AttnDownBlock2D", "DownBlock2D"]],
    ["mid_block_type", "UNetMidBlock2D"],
    ["norm_eps", -1],
    ["unheard_of", 1],
  ])("is refused where %s is %j", (field, value) => {
    expect(() => new UNet2DConditionModel({ ...SMALL, [field]: value })).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED_MODEL", message: expect.stringContaining(`"${field}"`) }),
    );
  });

  it.each([
    ["fewer block types than levels", { down_block_types: ["DownBlock2D"] }],
    ["layers_per_block for another number of levels", { layers_per_block: [1, 1, 1] }],
    ["groups that do not divide the channels", { norm_num_groups: 3 }],
    ["heads that do not divide the channels", { attention_head_dim: 3 }],
    // Whether a file has so many layers is known only once the network has been built.
    ["more layers than any file has", { layers_per_block: 1e8 }],
    ["more transformer layers than any file has", { transformer_layers_per_block: [1, 1e8] }],
    ["more layers than any file has, in all", { layers_per_block: 200, transformer_layers_per_block: 200 }],
  ])("is refused with %s", (_, config) => {
    expect(() => new UNet2DConditionModel({ ...SMALL, ...config })).toThrow(
      expect.objectContaining({ name: "KpopError", code: "UNSUPPORTED_MODEL" }),
    );
  });

  it("reads one number for all levels as the same number for each", () => {
    const one = new UNet2DConditionModel({ ...SMALL, layers_per_block: 2 });
    const each = new UNet2DConditionModel({ ...SMALL, layers_per_block: [2, 2] });
    expect(one.parameterShapes()).toEqual(each.parameterShapes());
    expect(one.config.layers_per_block).toEqual([2]);
  });

  it("gives linear projections another shape than convolutions, and the same function", async () => {
    const convolution = await filled({});
    const linear = await filled({ use_linear_projection: true });
    const name = "mid_block.attentions.0.proj_in.weight";
    expect(convolution.parameterShapes()[name]).toEqual([16, 16, 1, 1]);
    expect(linear.parameterShapes()[name]).toEqual([16, 16]);
    const out = await convolution.forward(sample(), 7, context());
    expect(await relativeError(await linear.forward(sample(), 7, context()), out)).toBeLessThan(1e-5);
  });

  it("changes the output where a field changes the mathematics", async () => {
    const plain = await (await filled({})).forward(sample(), 7, context());
    for (const config of [
      { attention_head_dim: 4 },
      { norm_num_groups: 8 },
      { flip_sin_to_cos: false },
      { freq_shift: 1 },
      { act_fn: "gelu" },
      { center_input_sample: true },
      { mid_block_scale_factor: 2 },
    ]) {
      const out = await (await filled(config)).forward(sample(), 7, context());
      expect([config, (await relativeError(out, plain)) > 1e-4]).toEqual([config, true]);
    }
  });
});

describe("UNet2DConditionModel.forward", () => {
  let unet: UNet2DConditionModel;
  beforeAll(async () => {
    unet = await filled({});
  });
  const refused = { name: "KpopError", code: "INVALID_ARGUMENT" };

  it("gives the same for one timestep as for as many equal ones", async () => {
    const one = await unet.forward(sample(), 7, context());
    expect(await relativeError(await unet.forward(sample(), [7, 7], context()), one)).toBe(0);
    expect(await relativeError(await unet.forward(sample(), [7, 300], context()), one)).toBeGreaterThan(1e-3);
  });

  it("keeps latents of odd sizes at their size", async () => {
    const out = await unet.forward(sample(7, 5), 7, context());
    expect(out.shape).toEqual([2, 4, 7, 5]);
  });

  it("records no graph unless it is asked to", async () => {
    const prompt = Tensor.from(new Float32Array(24), [2, 12], { requiresGrad: true });
    const plain = await unet.forward(sample(), 7, context(), { prompt });
    await expect(plain.sum().backward()).rejects.toMatchObject({ code: "NATIVE_FAILURE" });
    const recorded = await unet.forward(sample(), 7, context(), { prompt, grad: true });
    await recorded.square().mean().backward();
    expect(prompt.grad!.shape).toEqual([2, 12]);
    expect(await prompt.grad!.abs().sum().item()).toBeGreaterThan(0);
  });

  it("takes a prompt of zeros added to the context as no prompt", async () => {
    const plain = await unet.forward(sample(), 7, context());
    const prompt = Tensor.zeros([5, 12]);
    for (const layers of ["mid", "all"] as const) {
      const out = await unet.forward(sample(), 7, context(), { prompt, mechanism: "additive", layers });
      expect(await relativeError(out, plain)).toBe(0);
    }
  });

  it("takes a prompt for each item, and gives each what it would get alone", async () => {
    const prompts = new Random(5).normal([2, 3, 12]);
    const both = await unet.forward(sample(), 7, context(), { prompt: prompts });
    for (const item of [0, 1]) {
      const only = (tensor: Tensor): Tensor => tensor.slice(0, item, item + 1);
      const alone = await unet.forward(only(sample()), 7, only(context()), { prompt: only(prompts).squeeze(0) });
      expect(await relativeError(only(both), alone)).toBeLessThan(1e-5);
    }
  });

  it.each([
    ["at once", {}],
    [
      "behind blocks of convolutions",
      {
        down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types: ["CrossAttnUpBlock2D", "UpBlock2D"],
      },
    ],
  ])("gives each item under several texts what it gives under one, attending %s", async (_, config) => {
    const own = await filled(config);
    const [input, times] = [sample(), [7, 300]];
    await input.requireGrad();
    const texts = [4, 5, 6].map((seed) => new Random(seed).normal([2, 5, 12]));
    const together = await own.forward(input, times, Tensor.cat(texts), { grad: true });
    expect(together.shape).toEqual([6, 4, 8, 8]);
    await together.square().sum().backward();
    const gradient = input.grad!.add(0);
    await input.zeroGrad();
    for (const [index, text] of texts.entries()) {
      const alone = await own.forward(input, times, text, { grad: true });
      await alone.square().sum().backward();
      expect(await relativeError(together.slice(0, 2 * index, 2 * index + 2), alone)).toBeLessThan(1e-5);
    }
    expect(await relativeError(input.grad!, gradient)).toBeLessThan(1e-5);
  });

  it.each<[string, () => Promise<unknown>, RegExp?]>([
    ["a number of timesteps that is not the batch's", () => unet.forward(sample(), [1, 2, 3], context())],
    ["a sample of other channels", () => unet.forward(new Random(1).normal([2, 3, 8, 8]), 7, context())],
    ["a sample without batch", () => unet.forward(new Random(1).normal([4, 8, 8]), 7, context())],
    ["a context of another width", () => unet.forward(sample(), 7, new Random(2).normal([2, 5, 13]))],
    ["a context for another batch", () => unet.forward(sample(), 7, new Random(2).normal([3, 5, 12]))],
    [
      "a prompt of another width",
      () => unet.forward(sample(), 7, context(), { prompt: new Random(5).normal([3, 13]) }),
    ],
    [
      "an additive prompt of another length than the text",
      () => unet.forward(sample(), 7, context(), { prompt: new Random(5).normal([4, 12]), mechanism: "additive" }),
    ],
    [
      "an unknown mechanism",
      () => unet.forward(sample(), 7, context(), { prompt: context(), mechanism: "multiply" as "concat" }),
    ],
    ["an unknown option", () => unet.forward(sample(), 7, context(), { prompts: context() } as object)],
    [
      "a tap on an unknown module",
      () => unet.forward(sample(), 7, context(), { taps: { "mid_block.resnets.7": () => undefined } }),
      /"mid_block\.resnets\.7".* such as mid_block\.resnets\.0, /,
    ],
    ["the activation of an unknown module", () => unet.activations(sample(), 7, context(), ["to_q"]), /"to_q".*conv_in/],
    ["activations of no module", () => unet.activations(sample(), 7, context(), [])],
    [
      "a replacement of another shape",
      () => unet.forward(sample(), 7, context(), { taps: { mid_block: (out) => out.slice(0, 0, 1) } }),
      /mid_block returns to be of shape \[2, 16, 4, 4\]/,
    ],
    [
      "a replacement that is no tensor",
      () => unet.forward(sample(), 7, context(), { taps: { mid_block: () => 3 as unknown as Tensor } }),
    ],
    [
      "another tensor for an unknown parameter",
      () => unet.forward(sample(), 7, context(), { parameters: new Map([["conv_in.gain", Tensor.zeros([8])]]) }),
      /"conv_in\.gain".*"conv_in\.weight"/,
    ],
    [
      "a tensor of another shape for a parameter",
      () => unet.forward(sample(), 7, context(), { parameters: new Map([["conv_in.bias", Tensor.zeros([9])]]) }),
      /conv_in\.bias to have shape \[8\]/,
    ],
    [
      "a network without weights",
      () => new UNet2DConditionModel(SMALL).forward(sample(), 7, context()),
      /the first is conv_in\.weight/,
    ],
    ["an unknown mechanism, without a prompt too", () => unet.forward(sample(), 7, context(), { mechanism: "sum" as "concat" }), /mechanism/],
    ["layers that it has not, without a prompt too", () => unet.forward(sample(), 7, context(), { layers: ["mid"] }), /prompt\.layers/],
    ["a timestep below zero", () => unet.forward(sample(), -1, context())],
    ["a timestep that is no number", () => unet.forward(sample(), NaN, context())],
  ])("refuses %s", async (_, call, words = /./) => {
    const error = call();
    await expect(error).rejects.toMatchObject(refused);
    await expect(error).rejects.toThrow(words);
  });

  it("gives its tensor before it has been computed, and holds back the one after the next", async () => {
    const [before, input, text] = [new Random(9).normal([2 ** 23]), sample(), context()];
    const start = performance.now();
    const first = await unet.forward(input, 7, text);
    const given = performance.now() - start;
    const [second, third] = [unet.forward(first, 7, text), unet.forward(input, 7, text)];
    let held = true;
    void second.then(() => (held = false));
    await new Promise(setImmediate);
    expect(held).toBe(true);
    await first.settled();
    expect(given).toBeLessThan((performance.now() - start) / 2);
    await Promise.all([before.settled(), second, third]);
    before.dispose();
    expect(await relativeError(await third, first)).toBe(0);
  });

  it("never writes to an output that a tap was shown, nor to what it returned", async () => {
    // What follows each of these overwrites its input where nobody else has it.
    const names = ["mid_block.resnets.0", "mid_block.attentions.0.transformer_blocks.0.attn1", "up_blocks.0.resnets.0"];
    const kept: [Tensor, Tensor][] = [];
    const keep = (tensor: Tensor): Tensor => {
      kept.push([tensor, tensor.clone()]);
      return tensor;
    };
    const shown = Object.fromEntries(names.map((name) => [name, (out: Tensor) => void keep(out)]));
    const returned = Object.fromEntries(names.map((name) => [name, (out: Tensor) => keep(keep(out).mul(2))]));
    for (const taps of [shown, returned]) await (await unet.forward(sample(), 7, context(), { taps })).settled();
    expect(kept).toHaveLength(9);
    for (const [tensor, copy] of kept) expect(await relativeError(tensor, copy)).toBe(0);
  });

  it("fails with what a tap throws, and computes the next forward as ever", async () => {
    const plain = await unet.forward(sample(), 7, context());
    const taps = { mid_block: () => Promise.reject(new RangeError("mine")) };
    const parameters = new Map([["conv_in.bias", Tensor.zeros([8])]]);
    await expect(unet.forward(sample(), 7, context(), { taps, parameters })).rejects.toThrow(RangeError);
    expect(await relativeError(await unet.forward(sample(), 7, context()), plain)).toBe(0);
  });

  it("says so when network or tensors were disposed", async () => {
    const other = await filled({});
    other.dispose();
    other.dispose();
    await expect(other.forward(sample(), 7, context())).rejects.toMatchObject({ code: "DISPOSED" });
    const gone = sample();
    gone.dispose();
    await expect(unet.forward(gone, 7, context())).rejects.toMatchObject({ code: "DISPOSED" });
    const prompt = context();
    prompt.dispose();
    await expect(unet.forward(sample(), 7, context(), { prompt })).rejects.toMatchObject({ code: "DISPOSED" });
  });
});
