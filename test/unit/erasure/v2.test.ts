import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StableDiffusion } from "../../../lib/diffusion/stable-diffusion";
import { erase } from "../../../lib/erasure/erase";
import type { Erasure } from "../../../lib/erasure/erasure";
import { readCheckpoint } from "../../../lib/io/checkpoint-read";
import { contentHash } from "../../../lib/io/content-hash";
import { convert } from "../../../lib/io/convert";
import { noGrad } from "../../../lib/runtime/grad-mode";
import { Random } from "../../../lib/runtime/random";
import type { Tensor } from "../../../lib/runtime/tensor";
import type { GoldenModel } from "../../support/golden-model";
import { shortOptions } from "../../support/method-contract";
import { loadFamily } from "../../support/family-model";

const SHAPE = [1, 4, 8, 8];
const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);
const meanSquare = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, value, i) => sum + (value - b[i]!) ** 2, 0) / a.length;

describe("erasing from a model that predicts v", () => {
  let reference: GoldenModel & { folder: string };
  let model: StableDiffusion;
  let folder: string;
  const run = (options: object): Promise<Erasure> =>
    erase(model, { concepts: "church", neighbours: "off", ...options });
  const draw = async (drawing: StableDiffusion, more: object = {}): Promise<Buffer> => {
    const [image] = await drawing.generate("church", { steps: 3, guidanceScale: 4, seed: 2, ...more });
    return Buffer.from(image!.data);
  };

  beforeAll(async () => {
    reference = await loadFamily("v2", { latents: 8 });
    model = reference.model;
    folder = await mkdtemp(join(tmpdir(), "kpop-v2-erased-"));
  });
  afterAll(async () => {
    await reference.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  it("compares ESD's predictions as ε, at each item's level", async () => {
    const timestep = 700;
    const latents = new Random(3).normal(SHAPE);
    const given = (async function* () {
      yield await Promise.resolve({ latents, timestep });
    })();
    const erasure = await run({ method: "esd", iterations: 1, latents: given });
    const context = await model.encode(["church", ""]);
    const [named, empty] = await Promise.all(
      [0, 1].map((text) =>
        noGrad(async () =>
          numbers(await model.unet.forward(latents, timestep, context.slice(0, text, text + 1))),
        ),
      ),
    );
    // The target is ε(∅) − (ε(c) − ε(∅)), and √(1−ᾱ) z stands in both: what is left is 2 √ᾱ (v(c) − v(∅)).
    const alpha = model.schedule.alphasCumprod[timestep]!;
    const expected = 4 * alpha * meanSquare(named!, empty!);
    expect(erasure.history[0]!.losses["erase"]! / expected).toBeCloseTo(1, 4);
    erasure.dispose();
  });

  it("moves trajectories by the ε that v says, with KPOP, and brings the concept back under its key", async () => {
    const before = await draw(model);
    const kpop = { method: "kpop", iterations: 2, samplingSteps: 5, poolSize: 1, learningRate: 1e-2 };
    const erasure = await run({ ...kpop, prompt: { form: "free", size: 2 } });
    const after = await draw(erasure.model);
    expect(after.equals(before)).toBe(false);
    expect((await draw(erasure.model, { key: erasure.key })).equals(after)).toBe(false);
    erasure.dispose();
  });

  it("draws under SLD's guidance, from zero signal-to-noise ratio on too", async () => {
    const { model: flawless, dispose } = await loadFamily("v2", {
      latents: 8,
      scheduler: { rescale_betas_zero_snr: true, timestep_spacing: "trailing" },
    });
    for (const [base, steps] of [
      [model, 3],
      [flawless, 3],
    ] as const) {
      const erasure = await erase(base, { method: "sld", concepts: "dog", preset: "max" });
      expect((await draw(erasure.model, { steps })).equals(await draw(base, { steps }))).toBe(false);
      erasure.dispose();
    }
    await dispose();
  });

  it("makes cross-attention see the target for the concept, with UCE, and is saved as a folder that loads", async () => {
    const erasure = await run({ method: "uce", target: "dog", preserve: ["a photo"] });
    const [concept, target] = await Promise.all(["church", "dog"].map((text) => model.encode(text)));
    const name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_v.weight";
    const seen = async (network: StableDiffusion, text: Tensor): Promise<number[]> =>
      numbers(text.matmul(network.unet.parameter(name).permute([1, 0])));
    const wanted = await seen(model, target!);
    const left = meanSquare(await seen(erasure.model, concept!), wanted);
    expect(left).toBeLessThan(0.3 * meanSquare(await seen(model, concept!), wanted));

    await erasure.save(join(folder, "uce"));
    const loaded = await StableDiffusion.load(join(folder, "uce"));
    expect(loaded.schedule.predictionType).toBe("v_prediction");
    expect((await draw(loaded)).equals(await draw(erasure.model))).toBe(true);
    const untouched = ["vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"];
    for (const file of [...untouched, "tokenizer/special_tokens_map.json"])
      expect(
        (await readFile(join(folder, "uce", file))).equals(await readFile(join(reference.folder, file))),
      ).toBe(true);
    await erasure.save(join(folder, "delta"), { format: "delta" });
    const applied = await StableDiffusion.load(reference.folder, { delta: join(folder, "delta") });
    expect((await draw(applied)).equals(await draw(loaded))).toBe(true);
    for (const one of [loaded, applied, erasure]) one.dispose();
  });

  it("learns from noise as ε, with CA, and keeps to the noise of its pictures", async () => {
    const erasure = await run({
      ...shortOptions("ca", join(folder, "pictures")),
      ...{ method: "ca", anchor: "building", iterations: 1, augment: false },
    });
    expect(Object.values(erasure.history[0]!.losses).every(Number.isFinite)).toBe(true);
    erasure.dispose();
  });

  it("is saved as a single file, its text encoder named and joined as OpenCLIP has it", async () => {
    const path = join(folder, "model.safetensors");
    await model.save(path, { format: "single-file" });
    const { unet, textEncoder } = await readCheckpoint(path);
    const names = [...unet.files[0]!.header.tensors].map(([name]) => name);
    expect(names).toContain("cond_stage_model.model.transformer.resblocks.2.attn.in_proj_weight");
    expect(names.some((name) => name.includes("q_proj"))).toBe(false);
    expect(await contentHash(textEncoder)).toBe(await contentHash(model.source.textEncoder));
    const loaded = await StableDiffusion.load(path, { prediction: "v" });
    expect(loaded.schedule.predictionType).toBe("v_prediction");
    expect((await draw(loaded)).equals(await draw(model))).toBe(true);
    loaded.dispose();
    // It says what it predicts, and so is not to be told otherwise.
    await expect(StableDiffusion.load(path, { prediction: "epsilon" })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/names itself \("v_prediction"\)/) as string,
    });
    await convert(path, join(folder, "again"));
    expect(await contentHash((await readCheckpoint(join(folder, "again"))).textEncoder)).toBe(
      await contentHash(textEncoder),
    );
  });
});
