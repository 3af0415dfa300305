import { readFileSync } from "node:fs";
import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { crossAttention } from "../../../../lib/diffusion/predict";
import { noisyLatents } from "../../../../lib/diffusion/noisy-latents";
import type { StableDiffusion } from "../../../../lib/diffusion/stable-diffusion";
import { erase } from "../../../../lib/erasure/erase";
import type { Erasure } from "../../../../lib/erasure/erasure";
import type { FmnOptions } from "../../../../lib/erasure/methods/fmn";
import { conceptColumns } from "../../../../lib/erasure/shared/concept-columns";
import { tokenEmbeddings } from "../../../../lib/inversion/concept-embedding";
import { invert } from "../../../../lib/inversion/invert";
import type { Image } from "../../../../lib/io/image";
import { Random } from "../../../../lib/runtime/random";
import { Tensor } from "../../../../lib/runtime/tensor";
import { CLIPTokenizer } from "../../../../lib/text/clip-tokenizer";
import type { PrepareReport } from "../../../../lib/training/step-report";
import { golden as goldenPath } from "../../../support/golden";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { weightHashes } from "../../../support/hashes";
import { discPicture } from "../../../support/pictures";
import { temporaryDirectory } from "../../../support/temporary-directory";
import { lossesOf } from "../../../support/training-trials";

const RATE = 1e-3;
/** Places and heads of every cross-attention module of the golden model, all together: 4 heads, 16 × 16 latents. */
const ROWS = 4 * (3 * 256 + 3 * 64 + 16);

interface Case {
  concepts: string[];
  templates: string[];
  batch: number;
  end: boolean;
  seed: number;
  losses: number[];
  largest: { name: string; at: number; gradient: number };
  still: string[];
  /** (θ' − θ) / rate of evenly spaced elements. */
  moved: Record<string, { step: number; values: number[] }>;
}
const { cases } = JSON.parse(
  readFileSync(join(__dirname, "..", "..", "..", "fixtures", "fmn", "reference.json"), "utf8"),
) as { cases: Record<string, Case> };

describe("Forget-Me-Not", () => {
  let golden: GoldenModel;
  let pictures: Image[];
  beforeAll(async () => {
    golden = await loadGolden("small");
    pictures = [discPicture(golden.model.imageSize, golden.model.imageSize)];
  });
  afterAll(() => golden.dispose());

  const run = (options: Partial<FmnOptions> = {}, model: StableDiffusion = golden.model): Promise<Erasure> =>
    erase(model, {
      ...{ concepts: "church", neighbours: "off", seed: 3, iterations: 1, learningRate: RATE },
      ...{ invert: false, zeroLatents: true, ...options, method: "fmn" },
    });
  const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);
  /** A model with other values in some of the UNet's weights. */
  const edited = async (names: string[], edit: (weight: Tensor) => Tensor): Promise<StableDiffusion> => {
    const model = await golden.model.derive(new Set(names), "float32");
    for (const name of names) {
      const weight = model.unet.parameter(name);
      await weight.copyFrom(edit(weight));
    }
    return model;
  };

  it.each(Object.entries(cases))("updates the whole network as PyTorch does: %s", async (_, expected) => {
    const { concepts, templates, batch: batchSize, end: endToken, seed, losses } = expected;
    const options = { concepts, templates, batchSize, endToken, seed };
    const erasure = await run({ ...options, iterations: losses.length });
    lossesOf(erasure).forEach(({ attention }, i) => expect(attention! / losses[i]! - 1).toBeCloseTo(0, 4));
    let [error, norm] = [0, 0];
    for (const [name, { step, values }] of Object.entries(expected.moved)) {
      const moved = erasure.model.unet.parameter(name).sub(golden.model.unet.parameter(name)).div(RATE);
      const all = await numbers(moved);
      values.forEach((value, i) => {
        error += (all[i * step]! - value) ** 2;
        norm += value ** 2;
      });
    }
    expect(Math.sqrt(error / norm)).toBeLessThan(5e-3);
    erasure.dispose();
  });

  it("leaves what comes behind the last attention as it is, to the bit", async () => {
    const { still } = cases["name"]!;
    const erasure = await run({ iterations: 2 });
    const [before, after] = [await weightHashes(golden.model.unet), await weightHashes(erasure.model.unet)];
    const same = Object.keys(before).filter((name) => before[name] === after[name]);
    expect(same.sort()).toEqual([...still].sort());
    expect(still).toContain("up_blocks.2.attentions.1.transformer_blocks.0.attn2.to_v.weight");
    erasure.dispose();
  });

  it.each<[string, Partial<FmnOptions>, number]>([
    ["a word and the end of the text", {}, 2],
    ["a word alone", { endToken: false }, 1],
    ["two words", { concepts: "English springer", endToken: false }, 2],
    ["a word that is there twice", { templates: ["a {} and a {}"] }, 3],
    ["two latents an iteration", { batchSize: 2 }, 2],
  ])("is √(rows · columns) / 77 where attention is uniform: %s", async (_, options, columns) => {
    const queries = golden.model.unet.parameterNames().filter((name) => name.endsWith("attn2.to_q.weight"));
    const uniform = await edited(queries, (weight) => weight.mul(0));
    const erasure = await run(options, uniform);
    expect(lossesOf(erasure)[0]!["attention"]! / (Math.sqrt(ROWS * columns) / 77)).toBeCloseTo(1, 5);
    for (const each of [erasure, uniform]) each.dispose();
  });

  it("has the loss whose slope by a weight is the gradient of PyTorch", async () => {
    const { largest } = cases["name"]!;
    const step = 1e-2;
    const losses = [];
    for (const sign of [-1, 1]) {
      const model = await edited([largest.name], (weight) => {
        const change = new Float32Array(weight.size);
        change[largest.at] = sign * step;
        return weight.add(Tensor.from(change, weight.shape));
      });
      const erasure = await run({}, model);
      losses.push(lossesOf(erasure)[0]!["attention"]!);
      for (const each of [erasure, model]) each.dispose();
    }
    const slope = (losses[1]! - losses[0]!) / (2 * step);
    expect(slope / largest.gradient).toBeCloseTo(1, 2);
  });

  describe("the columns of a concept", () => {
    const words = { end: true };

    it("end with the first end token, whether a row is padded with more of them or with another token", async () => {
      const { tokenizer } = golden.model;
      const other = temporaryDirectory();
      await cp(goldenPath("small", "tokenizer"), other, { recursive: true });
      for (const name of ["tokenizer_config.json", "special_tokens_map.json"]) {
        const config = JSON.parse(await readFile(join(other, name), "utf8")) as object;
        await writeFile(join(other, name), JSON.stringify({ ...config, pad_token: "!" }));
      }
      const exclaiming = await CLIPTokenizer.fromFiles(other);
      expect(exclaiming.encode("church")[0]![10]).not.toBe(tokenizer.encode("church")[0]![10]);
      for (const each of [tokenizer, exclaiming]) {
        expect(each.encode("a photo of church")[0]!.indexOf(each.eosTokenId)).toBe(5);
        expect(conceptColumns(each, "a photo of {}", "church", words)).toEqual([4, 5]);
        expect(conceptColumns(each, "{}!", "church", words)).toEqual([1, 3]);
      }
    });

    it("are those of learned vectors, wherever they stand", () => {
      const { tokenizer } = golden.model;
      const learned = { token: "<concept-1>", embeddings: Tensor.zeros([3, 32]) };
      expect(conceptColumns(tokenizer, "a photo of {}", learned, words)).toEqual([4, 5, 6, 7]);
      expect(conceptColumns(tokenizer, "{} or {}", learned, { end: false })).toEqual([1, 2, 3, 5, 6, 7]);
    });

    it.each<[string, Partial<FmnOptions>, RegExp]>([
      [
        "that a template glues letters to",
        { concepts: "dog", templates: ["a{}"] },
        /words of its own in "adog"/,
      ],
      ["that goes on", { templates: ["{}es"] }, /word to end where "\{\}" does/],
      ["behind what is read", { templates: [`${"a ".repeat(80)}{}`] }, /within the 77 tokens/],
      [
        "of more vectors than there is room for",
        { invert: true, inversion: { vectors: 80 } },
        /inversion.vectors/,
      ],
      [
        "whose learned words have no room in a caption",
        { invert: true, inversion: { templates: [`${"a ".repeat(73)}{}`] } },
        /among the first/,
      ],
    ])("of a name %s are refused before anything is drawn", async (_, options, message) => {
      const onPrepare = (): void => {
        throw new Error("it has begun");
      };
      await expect(run({ zeroLatents: false, ...options, onPrepare })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(message) as string,
      });
    });
  });

  it("learns words from the pictures first, and forgets those in the place of the name", async () => {
    const { model } = golden;
    const inversion = { vectors: 3, iterations: 4, batchSize: 2, learningRate: 1e-2 };
    const prepared: PrepareReport[] = [];
    const onPrepare = (report: PrepareReport): void => void prepared.push(report);
    const options = { pictures: { church: pictures }, zeroLatents: false, mirror: false };
    const erasure = await run({ ...options, invert: true, inversion, endToken: false, onPrepare });
    expect(prepared.map(({ done, total }) => [done, total])).toEqual([1, 2, 3, 4].map((done) => [done, 4]));

    // The same words by hand: they begin as the name's own token, and as noise of its length.
    const draws = new Random(3);
    const own = await tokenEmbeddings(model, "concept", "church");
    const noise = draws.at("words", 0).normal([2, own.shape[1]!]);
    const { embeddings } = await invert(model, {
      ...{ images: pictures, ...inversion, token: "<concept-1>", mirror: false },
      initial: Tensor.cat([own, noise.mul(own.square().mean().sqrt())]),
      seed: draws.at("inversion", 0).below(2 ** 31),
    });
    const tokens = [{ token: "<concept-1>", embeddings }];
    const context = await model.encode("a photo of <concept-1>", { tokens });
    const { mean } = await model.vae.encode(
      Tensor.from(pictures[0]!.data, [1, model.imageSize, model.imageSize, 3])
        .permute([0, 3, 1, 2])
        .to("float32")
        .div(127.5)
        .sub(1),
    );
    const clean = mean.mul(model.vae.config.scaling_factor);
    const batch = noisyLatents(model.schedule, clean, draws.at("task-vector", "church", 0).at("noise"));
    let squares = 0;
    for (const map of await crossAttention(model, batch, { context })) {
      const places = map.size / 77;
      const values = await numbers(map);
      for (let row = 0; row < places; row++)
        for (const column of [4, 5, 6]) squares += values[row * 77 + column]! ** 2;
    }
    expect(lossesOf(erasure)[0]!["attention"]! / Math.sqrt(squares)).toBeCloseTo(1, 5);
    // Four updates on two latents, and one of the weights on one.
    expect(erasure.manifest.unetEvaluations).toBe(4 * 2 + 1);
    erasure.dispose();
  });

  it("needs no pictures for latents of zero, and takes the attention off the name", async () => {
    const prepared: PrepareReport[] = [];
    const erasure = await run({
      iterations: 4,
      learningRate: 4e-3,
      onPrepare: (report) => void prepared.push(report),
    });
    expect(prepared).toEqual([]);
    const of = async ({ model }: Pick<Erasure, "model">): Promise<number> => {
      const latents = new Random(8).normal([1, 4, 16, 16]);
      const condition = { context: await golden.model.encode("a photo of church") };
      const maps = await crossAttention(model, { latents, timesteps: 500 }, condition);
      const sums = maps.map((map) => map.slice(3, 4, 6).square().sum());
      return Math.sqrt(await Tensor.stack(sums).sum().item());
    };
    expect(await of(erasure)).toBeLessThan(0.5 * (await of(golden)));
    erasure.dispose();
  });

  it("stops while it learns words", async () => {
    const controller = new AbortController();
    let told = 0;
    const onPrepare = ({ what }: PrepareReport): void => {
      told += 1;
      expect(what).toBe("step of inversion");
      controller.abort();
    };
    const options = { pictures: { church: pictures }, zeroLatents: false, invert: true };
    const stopped = run({ ...options, inversion: { iterations: 50 }, signal: controller.signal, onPrepare });
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
    expect(told).toBe(1);
  });
});
