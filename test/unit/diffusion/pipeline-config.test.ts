import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { StableDiffusion } from "../../../lib/diffusion/stable-diffusion";
import { golden } from "../../support/golden";
import { temporaryDirectory } from "../../support/temporary-directory";

type Fields = Record<string, unknown>;

const XL = join(__dirname, "../../../models/pocket-xl");

/** A small checkpoint with other fields in one of its configs; undefined takes a field away. */
async function withConfig(name: "small" | "pocket-xl", file: string, fields: Fields): Promise<string> {
  const folder = temporaryDirectory();
  await cp(name === "small" ? golden("small") : XL, folder, { recursive: true });
  if (name === "small")
    await cp(golden("small", "tokenizer"), join(folder, "tokenizer"), { recursive: true });
  const path = join(folder, file);
  const config = JSON.parse(await readFile(path, "utf8")) as Fields;
  await writeFile(path, JSON.stringify({ ...config, ...fields }));
  return folder;
}

const load = async (...args: Parameters<typeof withConfig>): Promise<StableDiffusion> =>
  await StableDiffusion.load(await withConfig(...args), { device: "cpu" });

// What diffusers 0.42 makes of the same folders.
describe("a checkpoint's configs, as diffusers' pipelines take them", () => {
  it.each([[0], [3], [undefined]])("have the steps_offset 1 in place of %s, but for XL's", async (offset) => {
    using model = await load("small", "scheduler/scheduler_config.json", { steps_offset: offset });
    expect(model.schedule.config.stepsOffset).toBe(1);
    using xl = await load("pocket-xl", "scheduler/scheduler_config.json", { steps_offset: offset });
    expect(xl.schedule.config.stepsOffset).toBe(offset ?? 0);
  });

  it("never clip a sample, though the scheduler's config may", async () => {
    using model = await load("small", "scheduler/scheduler_config.json", { clip_sample: true });
    expect(model.schedule.predictionType).toBe("epsilon");
  });

  it("have betas by the scheduler's class where none are given", async () => {
    const none = { beta_start: undefined, beta_end: undefined, beta_schedule: undefined };
    const classes = { HeunDiscreteScheduler: "linear", LCMScheduler: "scaled_linear" };
    for (const [name, betaSchedule] of Object.entries(classes)) {
      const fields = { ...none, _class_name: name, steps_offset: 1 };
      using model = await load("small", "scheduler/scheduler_config.json", fields);
      expect(model.schedule.config).toMatchObject({ betaStart: 0.00085, betaEnd: 0.012, betaSchedule });
    }
    const fields = { ...none, _class_name: "DDIMScheduler" };
    using model = await load("small", "scheduler/scheduler_config.json", fields);
    expect(model.schedule.config).toMatchObject({ betaStart: 0.0001, betaEnd: 0.02, betaSchedule: "linear" });
  });

  it.each([
    [40, 40],
    [1000, 77],
    [1e30, 77],
    [undefined, 77],
  ])("have texts of model_max_length %s, of the encoder's places at most", async (length, rows) => {
    using model = await load("small", "tokenizer/tokenizer_config.json", { model_max_length: length });
    using text = await model.encode("a photo of a church");
    expect(text.shape[1]).toBe(rows);
  });

  it("refuse a model_max_length that leaves no room for a text", async () => {
    await expect(
      load("small", "tokenizer/tokenizer_config.json", { model_max_length: 1 }),
    ).rejects.toMatchObject({
      code: "INVALID_CHECKPOINT",
      message: expect.stringMatching(/model_max_length.* it is 1/) as string,
    });
  });

  it("have a side of two equal ones, and refuse others", async () => {
    using model = await load("small", "unet/config.json", { sample_size: [24, 24] });
    expect(model.imageSize).toBe(24 * model.vae.downsampling);
    await expect(load("small", "unet/config.json", { sample_size: [16, 24] })).rejects.toMatchObject({
      code: "UNSUPPORTED_MODEL",
      message: expect.stringMatching(/not square.*\[16,24\]/) as string,
    });
  });

  it("take null for false, not for a default", async () => {
    using plain = await load("small", "unet/config.json", { flip_sin_to_cos: false });
    using model = await load("small", "unet/config.json", { flip_sin_to_cos: null });
    expect(model.unet.config.flip_sin_to_cos).toBe(plain.unet.config.flip_sin_to_cos);
    expect(model.unet.config.flip_sin_to_cos).toBe(false);
  });

  it.each<[string, string, Fields, RegExp]>([
    ["a UNet without a middle", "unet/config.json", { mid_block_type: null }, /"mid_block_type" = null/],
    ["another number of predicted channels", "unet/config.json", { out_channels: 8 }, /predicts 8 channels/],
    ["pictures with transparency", "vae/config.json", { out_channels: 4 }, /pictures with 4 channels/],
    ["pictures in grey", "vae/config.json", { in_channels: 1 }, /pictures with 1 channels/],
  ])("refuse %s by name", async (_, file, fields, message) => {
    await expect(load("small", file, fields)).rejects.toMatchObject({ code: "UNSUPPORTED_MODEL" });
    await expect(load("small", file, fields)).rejects.toThrow(message);
  });
});
