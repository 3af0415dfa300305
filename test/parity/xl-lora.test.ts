import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { applyLora } from "../../lib/diffusion/apply-lora";
import { StableDiffusion } from "../../lib/diffusion/stable-diffusion";
import { erase } from "../../lib/erasure/erase";
import { LORA_FILE } from "../../lib/io/file-kinds";
import * as safetensors from "../../lib/io/safetensors";
import type { Tensor } from "../../lib/runtime/tensor";
import { worstByte } from "../support/compare";
import { loadFamily } from "../support/family-model";
import type { GoldenModel } from "../support/golden-model";
import { weightHashes } from "../support/hashes";
import { temporaryDirectory } from "../support/temporary-directory";

// The reference is diffusers with `load_lora_weights`, in float32: fixtures/lora/draw_xl.py.
const fixture = (name: string): string => join(__dirname, "../fixtures/lora", name);
const PROMPTS = ["a photo of a church", "the church, in snow"];
/** As many as the widest layers of cross-attention have rows: any change of theirs. */
const FULL_RANK = 64;
/** Of a byte, between two programs. */
const WORST = 3;
/** That a change is seen at all: more than twice that. */
const SEEN = 8;

describe("LoRAs of a tiny model of Stable Diffusion XL's kind", () => {
  let reference: GoldenModel;
  let model: StableDiffusion;
  let directory: string;
  beforeAll(async () => {
    reference = await loadFamily("xl", { latents: 8 });
    model = reference.model;
    directory = temporaryDirectory();
  });
  afterAll(() => reference.dispose());
  const at = (name: string): string => join(directory, name);

  const worst = async (
    drawing: StableDiffusion,
    drawn: ReadonlyMap<string, Tensor>,
    name: string,
  ): Promise<number> => {
    const call = { latents: drawn.get("noise")!, steps: 4, guidanceScale: 5, negativePrompt: "blurry" };
    return worstByte(await drawing.generate(PROMPTS, call), drawn.get(name)!);
  };
  const erased = (options: object): ReturnType<typeof erase> =>
    erase(model, { concepts: "church", neighbours: "off", seed: 5, ...options });
  const trained = () =>
    erased({
      method: "esd",
      iterations: 2,
      samplingSteps: 4,
      poolSize: 2,
      learningRate: 5e-2,
      as: "lora",
      rank: FULL_RANK,
    });
  const closed = () => erased({ method: "uce", target: "dog" });

  it("draw with the model what they draw in diffusers", async () => {
    const drawn = await safetensors.load(fixture("xl-drawn.safetensors"));
    expect(await worst(model, drawn, "plain")).toBeLessThanOrEqual(WORST);
    using applied = await applyLora(model, fixture("xl.safetensors"));
    expect(await worst(applied, drawn, "0")).toBeLessThanOrEqual(WORST);
    expect(await worst(model, drawn, "0")).toBeGreaterThan(SEEN);
  });

  it("may be under the original code's names, and are written so where tools know no other", async () => {
    const drawn = await safetensors.load(fixture("xl-drawn.safetensors"));
    using applied = await applyLora(model, fixture("xl-original.safetensors"));
    expect(await worst(applied, drawn, "1")).toBeLessThanOrEqual(WORST);
    expect(await worst(model, drawn, "1")).toBeGreaterThan(SEEN);
    await applied.save(at("written.safetensors"), { format: "lora", rank: 2 });
    const [written, given] = await Promise.all(
      [at("written.safetensors"), fixture("xl-original.safetensors")].map((path) => safetensors.load(path)),
    );
    const layers = (of: ReadonlyMap<string, Tensor>): string[] =>
      [...of.keys()].filter((name) => name.includes("label_emb")).sort();
    expect(layers(written!)).toHaveLength(6);
    expect(layers(written!)).toEqual(layers(given!));
    using again = await applyLora(model, at("written.safetensors"));
    expect(await worst(again, drawn, "1")).toBeLessThanOrEqual(WORST);
  });

  it("are, trained at full rank, the dense erasure to the bit, as its delta is", async () => {
    using erasure = await trained();
    await erasure.save(at("trained"), { format: "lora" });
    await erasure.save(at("delta"), { format: "delta" });
    const bits = await weightHashes(erasure.model.unet);
    expect(bits).not.toEqual(await weightHashes(model.unet));
    using applied = await applyLora(model, at("trained"));
    using dense = await StableDiffusion.load(reference.model.source.path, {
      device: "cpu",
      delta: at("delta"),
    });
    for (const one of [applied, dense]) expect(await weightHashes(one.unet)).toEqual(bits);
  });

  const python = process.env["KPOP_PYTHON"];
  (python === undefined ? it.skip : it)(
    "draw in diffusers, trained or of a closed form, what is drawn here, given KPOP_PYTHON with diffusers and peft",
    async () => {
      using dense = await closed();
      using factors = await trained();
      await dense.save(at("closed"), { format: "lora", rank: FULL_RANK });
      await dense.save(at("folder"));
      await factors.save(at("factors"), { format: "lora" });
      const given = [join(at("closed"), LORA_FILE), join(at("factors"), LORA_FILE), at("folder")];
      await promisify(execFile)(python!, [fixture("draw_xl.py"), at("drawn.safetensors"), ...given]);
      const drawn = await safetensors.load(at("drawn.safetensors"));
      for (const [place, { model: own }] of [dense, factors, dense].entries()) {
        expect(await worst(own, drawn, String(place))).toBeLessThanOrEqual(WORST);
        expect(await worst(model, drawn, String(place))).toBeGreaterThan(SEEN);
      }
    },
    600_000,
  );
});
