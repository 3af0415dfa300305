import { CLIPTextModel } from "../../../lib/models/clip-text";
import { UNet2DConditionModel } from "../../../lib/models/unet";
import { Random } from "../../../lib/runtime/random";
import { Tensor } from "../../../lib/runtime/tensor";

const UNET = {
  block_out_channels: [8, 16],
  down_block_types: ["CrossAttnDownBlock2D", "DownBlock2D"],
  up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D"],
  layers_per_block: 1,
  norm_num_groups: 4,
  cross_attention_dim: 12,
  attention_head_dim: [2, 4],
};
const KEY = "conv_in.bias";

async function filled(): Promise<UNet2DConditionModel> {
  const unet = new UNet2DConditionModel(UNET);
  const weights = Object.entries(unet.parameterShapes()).map(
    ([name, shape]) => [name, new Random(3).at(name).normal(shape).mul(0.1)] as const,
  );
  await unet.assign(new Map(weights));
  return unet;
}
const forward = async (unet: UNet2DConditionModel): Promise<string> => {
  const out = await unet.forward(new Random(1).normal([1, 4, 8, 8]), 5, new Random(2).normal([1, 4, 12]));
  return Buffer.from(await out.bytes()).toString("base64");
};

describe("a network", () => {
  it("knows its parameters under the checkpoint's keys before any weight is loaded", () => {
    const unet = new UNet2DConditionModel(UNET);
    expect(unet.parameterShapes()[KEY]).toEqual([8]);
    expect(unet.parameterNames()).toHaveLength(Object.keys(unet.parameterShapes()).length);
    expect(() => unet.parameter(KEY)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  it("has a frozen configuration", () => {
    expect(Object.isFrozen(new UNet2DConditionModel(UNET).config)).toBe(true);
  });

  it("computes with what is written to a parameter", async () => {
    const unet = await filled();
    const before = await forward(unet);
    await unet.parameter(KEY).copyFrom(Tensor.zeros([8]));
    expect(await forward(unet)).not.toBe(before);
    expect(unet.parameter(KEY).written).toBe(true);
  });

  it("frees the handle that an assigned tensor takes the place of", async () => {
    const unet = await filled();
    const old = unet.parameter(KEY);
    const next = Tensor.zeros([8]);
    await unet.assign(new Map([[KEY, next]]));
    expect(old.disposed).toBe(true);
    expect(unet.parameter(KEY)).toBe(next);
    await unet.assign(new Map([[KEY, next]]));
    expect(next.disposed).toBe(false);
  });

  it("refuses weights of another shape or of no parameter", async () => {
    const unet = await filled();
    for (const [name, shape] of [
      [KEY, [9]],
      ["conv_in.gain", [8]],
    ] as const)
      await expect(unet.assign(new Map([[name, Tensor.zeros(shape)]]))).rejects.toMatchObject({
        name: "KpopError",
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining(name) as string,
      });
  });

  it("shares storage with its copy, except for the copy's own parameters", async () => {
    const unet = await filled();
    const copy = await unet.share(new Set([KEY]));
    const before = await forward(unet);
    expect(await forward(copy)).toBe(before);
    await copy.parameter(KEY).copyFrom(Tensor.zeros([8]));
    expect(await forward(unet)).toBe(before);
    expect(await forward(copy)).not.toBe(before);
    await unet.parameter("conv_out.bias").copyFrom(Tensor.zeros([4]));
    expect(await copy.parameter("conv_out.bias").square().sum().item()).toBe(0);
  });

  it("lives on in its copy when it is disposed", async () => {
    const unet = await filled();
    const before = await forward(unet);
    const copy = await unet.share();
    unet.dispose();
    expect(await forward(copy)).toBe(before);
  });

  it("keeps every option of its configuration in the copy", async () => {
    const encoder = new CLIPTextModel({ hidden_size: 12, num_attention_heads: 3, hidden_act: "gelu", vocab_size: 9 });
    expect((await encoder.share()).config).toEqual(encoder.config);
    const unet = await filled();
    expect((await unet.share()).config).toEqual(unet.config);
  });
});
