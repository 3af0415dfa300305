import { cp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  StableDiffusion,
  type Device,
  type LoadOptions,
  type LoadProgress,
} from "../../../lib/diffusion/stable-diffusion";
import { inspect } from "../../../lib/io/inspect";
import * as safetensors from "../../../lib/io/safetensors";
import { addon } from "../../../lib/runtime/binding";
import { Random } from "../../../lib/runtime/random";
import { scope } from "../../../lib/runtime/scope";
import { Tensor } from "../../../lib/runtime/tensor";
import { relativeError } from "../../support/compare";
import { golden } from "../../support/golden";
import { temporaryDirectory } from "../../support/temporary-directory";

const WEIGHTS = join("unet", "diffusion_pytorch_model.safetensors");
const load = (path: string, options: LoadOptions = {}): Promise<StableDiffusion> =>
  StableDiffusion.load(path, { device: "cpu", ...options });

/** A copy of the small golden checkpoint that a test may spoil. */
async function copy(): Promise<string> {
  const folder = join(temporaryDirectory(), "model");
  await cp(golden("small"), folder, { recursive: true });
  return folder;
}

async function editJson(path: string, change: Record<string, unknown>): Promise<void> {
  const json = JSON.parse(await readFile(path, "utf8")) as object;
  await writeFile(path, JSON.stringify({ ...json, ...change }));
}

async function editWeights(folder: string, edit: (tensors: Map<string, Tensor>) => void): Promise<void> {
  const path = join(folder, WEIGHTS);
  const tensors = await safetensors.load(path);
  edit(tensors);
  await safetensors.save(path, tensors);
}

describe("StableDiffusion.load", () => {
  const predict = async (model: StableDiffusion): Promise<Tensor> => {
    const context = await model.encode("church");
    const sample = new Random(1).normal([1, 4, 16, 16]).to(model.dtype);
    return (await model.unet.forward(sample, 500, context)).to("float32");
  };

  it("gives networks, tokenizer and schedule, and says what they are", async () => {
    using model = await load(golden("small"));
    expect(model).toMatchObject({ device: "cpu", dtype: "float32", imageSize: 64, defaultSampler: "pndm" });
    expect(model.source.path).toBe(golden("small"));
    expect(model.tokenizer.maxLength).toBe(77);
    expect(model.schedule.length).toBe(1000);
    expect(model.changed.size).toBe(0);
    const file = await safetensors.open(golden("small", WEIGHTS));
    expect(model.unet.parameterNames().sort()).toEqual([...file.names].sort());
    const name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight";
    expect(Buffer.from(await model.unet.parameter(name).bytes()).equals(await file.readBytes(name))).toBe(
      true,
    );
    await file.close();
  });

  it("computes in bfloat16 and float16 close to float32: 3 and 0.5 % of the largest element", async () => {
    using exact = await load(golden("small"));
    const expected = await predict(exact);
    for (const [dtype, tolerance] of [
      ["bfloat16", 0.03],
      ["float16", 0.005],
    ] as const) {
      using model = await load(golden("small"), { dtype });
      expect(model.unet.parameter("conv_in.weight").dtype).toBe(dtype);
      const error = await relativeError(await predict(model), expected);
      expect(error).toBeLessThan(tolerance);
      expect(error).toBeGreaterThan(1e-5);
      const [image] = await model.generate("church", { steps: 2 });
      expect(image!.data.length).toBe(64 * 64 * 3);
    }
  });

  it("reports progress, network by network, up to every byte", async () => {
    const seen: LoadProgress[] = [];
    using model = await load(golden("small"), { onProgress: (progress) => seen.push(progress) });
    expect(model.device).toBe("cpu");
    expect([...new Set(seen.map(({ component }) => component))]).toEqual(["unet", "vae", "textEncoder"]);
    for (const name of ["unet", "vae", "textEncoder"]) {
      const own = seen.filter(({ component }) => component === name);
      const bytes = own.map((progress) => progress.bytes);
      expect(bytes).toEqual([...bytes].sort((a, b) => a - b));
      expect(bytes.at(-1)).toBe(own[0]!.totalBytes);
    }
  });

  it("outlives the scope that it was loaded in", async () => {
    let model: StableDiffusion | undefined;
    await scope(async () => {
      model = await load(golden("small"));
    });
    expect((await predict(model!)).shape).toEqual([1, 4, 16, 16]);
    model!.dispose();
    model!.dispose();
  });

  it("names the first five missing tensors, and says how many there are", async () => {
    const folder = await copy();
    const gone: string[] = [];
    await editWeights(folder, (tensors) => {
      for (const name of [...tensors.keys()].filter((key) => key.includes("attn2"))) {
        tensors.delete(name);
        gone.push(name);
      }
    });
    const failure = await load(folder).catch((error: Error) => error);
    expect(failure).toMatchObject({ name: "KpopError", code: "INVALID_CHECKPOINT" });
    const { message } = failure as Error;
    expect(message).toContain(`${gone.length} tensors missing`);
    expect(gone.filter((name) => message.includes(name))).toHaveLength(5);
  });

  it("names tensors of another shape, and those that belong nowhere", async () => {
    const folder = await copy();
    await editWeights(folder, (tensors) => {
      tensors.set("conv_in.bias", Tensor.zeros([7]));
      tensors.set("conv_in.gain", Tensor.zeros([3]));
    });
    await expect(load(folder)).rejects.toMatchObject({
      code: "INVALID_CHECKPOINT",
      message: expect.stringMatching(
        /1 tensor unexpected: conv_in\.gain; 1 tensor wrongly shaped: conv_in\.bias \(expected \[32\] but received \[7\]\)/,
      ) as string,
    });
  });

  it.each<[string, string, Record<string, unknown>, RegExp]>([
    [
      "a UNet field that changes the mathematics",
      "unet/config.json",
      { conv_in_kernel: 5 },
      /conv_in_kernel/,
    ],
    ["an unknown UNet field", "unet/config.json", { time_gate: true }, /time_gate/],
    ["an unknown VAE field", "vae/config.json", { latents_std: [1] }, /latents_std/],
    ["another text encoder", "text_encoder/config.json", { model_type: "t5" }, /model_type/],
    [
      "another prediction",
      "scheduler/scheduler_config.json",
      { prediction_type: "sample" },
      /prediction_type/,
    ],
    ["fields that do not fit each other", "unet/config.json", { norm_num_groups: 5 }, /norm_num_groups/],
  ])("refuses %s, naming it", async (_, file, change, message) => {
    const folder = await copy();
    await editJson(join(folder, file), change);
    await expect(load(folder)).rejects.toMatchObject({
      name: "KpopError",
      code: "UNSUPPORTED_MODEL",
      message: expect.stringMatching(message) as string,
    });
  });

  it("refuses pickled weights with the reason and the way out", async () => {
    const folder = await copy();
    await rename(join(folder, WEIGHTS), join(folder, "unet", "diffusion_pytorch_model.bin"));
    const pickle = join(temporaryDirectory(), "model.ckpt");
    await writeFile(pickle, "\x80\x02.");
    for (const path of [folder, pickle])
      await expect(load(path)).rejects.toMatchObject({
        code: "UNSUPPORTED_FORMAT",
        message: expect.stringMatching(/pickle.*safetensors/) as string,
      });
  });

  it("says what is not there", async () => {
    await expect(load(join(temporaryDirectory(), "nothing"))).rejects.toMatchObject({ code: "NOT_FOUND" });
    const folder = await copy();
    await rm(join(folder, "vae"), { recursive: true });
    await expect(load(folder)).rejects.toMatchObject({
      code: expect.stringMatching(/^(NOT_FOUND|INVALID_CHECKPOINT)$/) as string,
      message: expect.stringContaining("vae") as string,
    });
  });

  it("refuses a CUDA device that this machine does not have, and says what to do", async () => {
    const index = addon().deviceCount() + 3;
    await expect(load(golden("small"), { device: `cuda:${index}` })).rejects.toMatchObject({
      code: "DEVICE_UNAVAILABLE",
      message: expect.stringMatching(/use device "cpu", or see `kpop-native doctor`/) as string,
    });
  });

  it.each<[string, unknown, RegExp]>([
    ["an unknown option", { gpu: true }, /"gpu"/],
    ["an unknown dtype", { dtype: "int8" }, /dtype/],
    ["an unknown device", { device: "tpu" as Device }, /device/],
    ["a signal that is none", { signal: 5 }, /signal/],
    ["a listener that is no function", { onProgress: true }, /onProgress/],
  ])("refuses %s, naming it", async (_, options, message) => {
    await expect(load(golden("small"), options as LoadOptions)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });

  it("refuses a path with NUL in it, and work on a model that was disposed", async () => {
    const refused = {
      name: "KpopError",
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("NUL") as string,
    };
    const path = join(temporaryDirectory(), "a\0b");
    const model = await load(golden("small"));
    await expect(load(path)).rejects.toMatchObject(refused);
    for (const format of ["diffusers", "single-file"] as const)
      await expect(model.save(path, { format })).rejects.toMatchObject(refused);
    await expect(inspect(path)).rejects.toMatchObject(refused);
    await expect(safetensors.open(path)).rejects.toMatchObject(refused);
    model.dispose();
    const disposed = { name: "KpopError", code: "DISPOSED" };
    await expect(model.save(path.replace("\0", ""))).rejects.toMatchObject(disposed);
    await expect(model.generate("church", { steps: 1 })).rejects.toMatchObject(disposed);
    expect(() => model.unet.parameter("conv_in.bias")).toThrow(expect.objectContaining(disposed) as Error);
  });

  it("refuses a path that is none", async () => {
    for (const path of ["", undefined, 5])
      await expect(load(path as string)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("stops in the middle of reading when the signal fires, or before it begins", async () => {
    const controller = new AbortController();
    const seen: string[] = [];
    const onProgress = ({ component }: LoadProgress): void => {
      seen.push(component);
      controller.abort();
    };
    const aborted = { name: "KpopError", code: "ABORTED" };
    await expect(load(golden("small"), { signal: controller.signal, onProgress })).rejects.toMatchObject(
      aborted,
    );
    expect(new Set(seen)).toEqual(new Set(["unet"]));
    await expect(load(golden("small"), { signal: controller.signal })).rejects.toMatchObject(aborted);
  });
});
