import { readFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { attack } from "../../../lib/attack/attack";
import { ATTACK_NAMES } from "../../../lib/attack/registry";
import { applyLora } from "../../../lib/diffusion/apply-lora";
import { StableDiffusion } from "../../../lib/diffusion/stable-diffusion";
import { erase } from "../../../lib/erasure/erase";
import type { Erasure } from "../../../lib/erasure/erasure";
import { METHOD_NAMES, methodNamed } from "../../../lib/erasure/registry";
import { Inversion } from "../../../lib/inversion/inversion";
import { invert } from "../../../lib/inversion/invert";
import { Random } from "../../../lib/runtime/random";
import { Tensor } from "../../../lib/runtime/tensor";
import * as safetensors from "../../../lib/io/safetensors";
import { BrightnessClassifier } from "../../support/brightness-classifier";
import { loadFamily } from "../../support/family-model";
import type { GoldenModel } from "../../support/golden-model";
import { weightHashes } from "../../support/hashes";
import { shortOptions } from "../../support/method-contract";
import { discPicture } from "../../support/pictures";

const UNTOUCHED = [
  ...["vae/diffusion_pytorch_model", "text_encoder/model", "text_encoder_2/model"].map(
    (file) => `${file}.safetensors`,
  ),
  ...["tokenizer", "tokenizer_2"].map((part) => `${part}/special_tokens_map.json`),
];

describe("a model of Stable Diffusion XL's kind", () => {
  let reference: GoldenModel & { folder: string };
  let model: StableDiffusion;
  let folder: string;
  let before: Record<string, string>;
  const run = (options: object): Promise<Erasure> =>
    erase(model, { concepts: "church", neighbours: "off", ...options });
  const draw = async (drawing: StableDiffusion, more: object = {}): Promise<Buffer> => {
    const [image] = await drawing.generate("a church", { steps: 2, guidanceScale: 4, seed: 2, ...more });
    return Buffer.from(image!.data);
  };
  const frozen = async ({ vae, textEncoder, textEncoder2 }: StableDiffusion): Promise<unknown[]> =>
    Promise.all([vae, textEncoder, textEncoder2!].map(weightHashes));

  beforeAll(async () => {
    reference = await loadFamily("xl", { latents: 8 });
    model = reference.model;
    before = await weightHashes(model.unet);
    folder = await mkdtemp(join(tmpdir(), "kpop-xl-erased-"));
  });
  afterAll(async () => {
    await reference.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  it.each(METHOD_NAMES)("is erased from with %s, the text encoders staying what they are", async (name) => {
    const short = { ...shortOptions(name, join(folder, "cache", name)), iterations: 1 };
    const own: Record<string, unknown> = Object.fromEntries(
      Object.entries(short).filter(([key]) => key in methodNamed(name).options),
    );
    // Its other strengths leave the first steps alone.
    if (name === "sld") own["preset"] = "max";
    const words = { choose: "nearest", count: 2, words: ["dog", "house", "castle", "tree"] };
    const { kind, holds } = methodNamed(name);
    const neighbours = kind === "inference" && holds === undefined ? {} : { neighbours: words };
    const erasure = await run({ method: name, seed: 5, ...own, ...neighbours });
    const after = await weightHashes(erasure.model.unet);
    const changed = Object.keys(after).filter((key) => after[key] !== before[key]);
    expect(changed.length > 0).toBe(kind !== "inference");
    expect(erasure.model.interventions.length > 0).toBe(kind === "inference");
    expect(await frozen(erasure.model)).toEqual(await frozen(model));
    expect((await draw(erasure.model)).equals(await draw(model))).toBe(false);
    erasure.dispose();
    expect(await weightHashes(model.unet)).toEqual(before);
  });

  it("lets a concept's guidance vanish under All but One whatever another concept becomes", async () => {
    // Of this model the empty text's prediction is of zeros, not of what the encoders make of "".
    const losses = async (alternative: string[]): Promise<number[]> => {
      const latents = (async function* () {
        for (let item = 0; item < 4; item++)
          yield { latents: new Random(item).normal([4, 8, 8]), timestep: 201 * (item + 1) };
      })();
      const short = { iterations: 4, learningRate: 0, seed: 3, latents };
      using erasure = await run({ method: "space", concepts: ["church", "dog"], alternative, ...short });
      return erasure.history.map(({ losses: { erase: loss } }) => loss!);
    };
    const [nothing, dog, church] = [await losses(["", ""]), await losses(["", "cat"]), await losses(["cat", ""])]; // prettier-ignore
    // Each item is of one of the two, whose alternative alone counts.
    nothing.forEach((loss, item) =>
      expect(Math.min(Math.abs(dog[item]! - loss), Math.abs(church[item]! - loss)) / loss).toBeLessThan(1e-5),
    );
    expect(dog).not.toEqual(nothing);
    expect(church).not.toEqual(nothing);
  });

  it("draws pictures of any size, of which the network is told", async () => {
    const drawn = await model.generate("a church", { steps: 1, width: 48, height: 32 });
    expect([drawn[0]!.width, drawn[0]!.height]).toEqual([48, 32]);
  });

  it.each(["cross-attention", "token"] as const)(
    "brings the concept back under KPOP's key, whose prompt enters at the %s",
    async (place) => {
      const short = { iterations: 1, samplingSteps: 4, poolSize: 1, learningRate: 1e-2 };
      const erasure = await run({ method: "kpop", ...short, prompt: { form: "free", place, size: 2 } });
      const { key } = erasure;
      // Words have numbers for both text encoders.
      expect(key!.prompt.shape).toEqual([2, 64]);
      const path = join(folder, `${place}.safetensors`);
      await key!.save(path);
      expect((await draw(erasure.model, { key })).equals(await draw(erasure.model))).toBe(false);
      erasure.dispose();
    },
  );

  it("is saved, erased from, as a folder, a file and a delta that give its pictures back", async () => {
    const erasure = await run({ method: "uce", target: "dog", preserve: ["a photo"] });
    const drawn = await draw(erasure.model);
    expect(drawn.equals(await draw(model))).toBe(false);
    const at = (name: string): string => join(folder, name);
    await erasure.save(at("saved"));
    await erasure.save(at("model.safetensors"), { format: "single-file" });
    await erasure.save(at("delta"), { format: "delta" });
    for (const file of UNTOUCHED)
      expect(
        (await readFile(at(join("saved", file)))).equals(await readFile(join(reference.folder, file))),
      ).toBe(true);
    const loaded = [
      await StableDiffusion.load(at("saved")),
      await StableDiffusion.load(at("model.safetensors")),
      await StableDiffusion.load(reference.folder, { delta: at("delta") }),
    ];
    for (const one of loaded) expect((await draw(one)).equals(drawn)).toBe(true);
    for (const one of [...loaded, erasure]) one.dispose();
  });

  it("is saved, erased from, as a LoRA, which goes onto it with changes of both text encoders too", async () => {
    const erasure = await run({ method: "uce", target: "dog", parameters: /mid_block.*attn2\.to_v/ });
    const path = join(folder, "lora");
    await erasure.save(path, { format: "lora", rank: 64 });
    const lora = await applyLora(model, path);
    const [near, drawn] = [await draw(lora), await draw(erasure.model)];
    expect(Math.max(...near.map((byte, i) => Math.abs(byte - drawn[i]!)))).toBeLessThanOrEqual(3);
    lora.dispose();

    const layer = "text_model_encoder_layers_1_self_attn_q_proj";
    const both = join(folder, "both.safetensors");
    const factors = [24, 40].flatMap((width, index): [string, Tensor][] =>
      ["up", "down"].map((part) => {
        const shape = part === "up" ? [width, 1] : [1, width];
        return [`lora_te${index + 1}_${layer}.lora_${part}.weight`, Tensor.zeros(shape).add(0.1)];
      }),
    );
    await safetensors.save(both, Object.fromEntries(factors));
    const changed = await applyLora(model, both);
    const key = "text_model.encoder.layers.1.self_attn.q_proj.weight";
    for (const encoder of ["textEncoder", "textEncoder2"] as const) {
      const change = changed[encoder]!.parameter(key).sub(model[encoder]!.parameter(key));
      expect(await change.mean().item()).toBeCloseTo(0.01, 5);
    }
    for (const one of [changed, erasure]) one.dispose();
  });

  it("learns words with numbers for both text encoders, which other tools read by name", async () => {
    const images = [discPicture(32, 32)];
    const found = await invert(model, { images, iterations: 1, batchSize: 1, vectors: 2 });
    expect([found.embeddings.shape, found.widths]).toEqual([
      [2, 64],
      [24, 40],
    ]);
    const path = join(folder, "word.safetensors");
    await found.save(path);
    const stored = await safetensors.load(path);
    expect(["clip_l", "clip_g"].map((name) => stored.get(name)!.shape)).toEqual([
      [2, 24],
      [2, 40],
    ]);
    const read = await Inversion.load(path);
    expect([read.token, read.widths]).toEqual([found.token, found.widths]);
    expect(await read.embeddings.data()).toEqual(await found.embeddings.data());
    const plain = await draw(model);
    expect((await draw(model, { tokens: [read] })).equals(plain)).toBe(true);
    const named = await model.generate("a <inverted>", { steps: 1, tokens: [read] });
    expect(named[0]!.data.every((byte) => byte === named[0]!.data[0])).toBe(false);
  });

  it.each(ATTACK_NAMES)("is attacked by %s", async (method) => {
    const short: Record<string, object> = {
      "diverse-inversion": { bands: [[0.6, 0.8]] },
      "key-search": { looks: 1, place: "token", size: 2 },
      relearn: { after: [1], shots: 1 },
      "ring-a-bell": { tokens: 2, population: 3, generations: 1 },
      tina: { updates: 1 },
      "unlearn-diff": { length: 1, timesteps: 1, stepsPerTimestep: 1 },
    };
    const learns = ["concept-inversion", "diverse-inversion", "key-search"].includes(method);
    const result = await attack(model, {
      ...{ method, concept: "church", classifier: new BrightnessClassifier(0.5), imagesPerInput: 1 },
      ...{ images: [discPicture(32, 32)], steps: 1, guidanceScale: 2, sampler: "ddim" },
      ...(learns ? { iterations: 1, batchSize: 1 } : {}),
      ...short[method],
    } as Parameters<typeof attack>[1]);
    expect(result.inputs.length).toBeGreaterThan(0);
    for (const { rate } of result.inputs) expect(rate.total).toBe(1);
    result.dispose();
    expect(await weightHashes(model.unet)).toEqual(before);
  });

  it("refuses to train words in one of the two text encoders", async () => {
    await expect(run({ method: "ca", anchor: "building", parameters: "embedding" })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/two text encoders/) as string,
    });
  });
});
