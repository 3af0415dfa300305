import { AutoencoderKL } from "../../../lib/models/vae";
import { Random } from "../../../lib/runtime/random";
import type { Tensor } from "../../../lib/runtime/tensor";
import { relativeError } from "../../support/compare";

const SMALL = {
  block_out_channels: [4, 8, 8],
  down_block_types: Array<string>(3).fill("DownEncoderBlock2D"),
  up_block_types: Array<string>(3).fill("UpDecoderBlock2D"),
  norm_num_groups: 2,
};

async function filled(config: Record<string, unknown> = {}): Promise<AutoencoderKL> {
  const vae = new AutoencoderKL({ ...SMALL, ...config });
  const draw = new Random(3);
  const weights = Object.entries(vae.parameterShapes()).map(
    ([name, shape]) => [name, draw.at(name).normal(shape).mul(0.1)] as const,
  );
  await vae.assign(new Map(weights));
  return vae;
}

describe("AutoencoderKL", () => {
  it("halves the side once for each level after the first", async () => {
    const vae = await filled();
    expect(vae.downsampling).toBe(4);
    const { mean, logvar } = await vae.encode(new Random(1).normal([2, 3, 16, 24]));
    expect(mean.shape).toEqual([2, 4, 4, 6]);
    expect(logvar.shape).toEqual([2, 4, 4, 6]);
    expect((await vae.decode(mean)).shape).toEqual([2, 3, 16, 24]);
  });

  it("handles every item of a batch by itself", async () => {
    const vae = await filled();
    const latents = new Random(1).normal([3, 4, 4, 4]);
    const alone = await vae.decode(latents.slice(0, 1, 2));
    expect(await relativeError((await vae.decode(latents)).slice(0, 1, 2), alone)).toBeLessThan(1e-5);
  });

  it("leaves out the quantisation convolutions and the attention where the config does", () => {
    const keys = (config: object): string[] => Object.keys(new AutoencoderKL({ ...SMALL, ...config }).parameterShapes());
    expect(keys({})).toEqual(expect.arrayContaining(["quant_conv.weight", "post_quant_conv.weight"]));
    expect(keys({ use_quant_conv: false }).filter((key) => key.startsWith("quant_conv"))).toEqual([]);
    expect(keys({ use_post_quant_conv: false }).filter((key) => key.startsWith("post_quant_conv"))).toEqual([]);
    expect(keys({}).some((key) => key.includes("mid_block.attentions"))).toBe(true);
    expect(keys({ mid_block_add_attention: false }).some((key) => key.includes("attentions"))).toBe(false);
  });

  it("computes float16 in float32 unless force_upcast is false: what passes float16 stays finite", async () => {
    const latents = new Random(1).normal([1, 4, 4, 4]).to("float16");
    const image = new Random(1).normal([1, 3, 16, 16]).to("float16");
    for (const config of [{}, { force_upcast: true }, { force_upcast: false }]) {
      const vae = await filled(config);
      // Outputs beyond what float16 holds, which ends at 65504.
      for (const name of ["decoder.conv_out.weight", "quant_conv.weight"])
        await vae.parameter(name).copyFrom(vae.parameter(name).mul(1e9));
      const [decoded, { mean }] = [await vae.decode(latents), await vae.encode(image)];
      const finite = async (tensor: Tensor) => [...(await tensor.data())].every((x) => Number.isFinite(x));
      if (config.force_upcast === false) {
        expect([decoded.dtype, mean.dtype]).toEqual(["float16", "float16"]);
        expect([await finite(decoded), await finite(mean)]).toEqual([false, false]);
        continue;
      }
      expect(await relativeError(decoded, await vae.decode(latents.to("float32")))).toBe(0);
      expect(await relativeError(mean, (await vae.encode(image.to("float32"))).mean)).toBe(0);
      expect([await finite(decoded), await finite(mean)]).toEqual([true, true]);
    }
  });

  it.each([
    ["scaling_factor", 0],
    ["force_upcast", "yes"],
    ["shift_factor", 0.1],
    ["latents_mean", [0, 0, 0, 0]],
    ["down_block_types", ["AttnDownEncoderBlock2D"]],
    ["unheard_of", true],
    ["norm_num_groups", 3],
    ["layers_per_block", 1e8],
    ["block_out_channels", Array<number>(100).fill(8)],
  ])("is refused where %s is %j", (field, value) => {
    expect(() => new AutoencoderKL({ ...SMALL, [field]: value })).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED_MODEL", message: expect.stringContaining(field) }),
    );
  });

  it("refuses images and latents of other channels", async () => {
    const vae = await filled();
    const refused = { name: "KpopError", code: "INVALID_ARGUMENT" };
    await expect(vae.encode(new Random(1).normal([1, 4, 16, 16]))).rejects.toMatchObject(refused);
    await expect(vae.decode(new Random(1).normal([1, 3, 4, 4]))).rejects.toMatchObject(refused);
  });
});
