import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { aggregate, attribution, type Attribution } from "../../../lib/evaluation/attribution";
import { overlay } from "../../../lib/evaluation/heat-map";
import { Image } from "../../../lib/io/image";
import { bicubic } from "../../../lib/nn/bicubic";
import { Random } from "../../../lib/runtime/random";
import type { Tensor } from "../../../lib/runtime/tensor";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { temporaryDirectory } from "../../support/temporary-directory";

/** Evenly spaced elements of a tensor, and the largest of all. */
interface Few {
  shape: number[];
  largest: number;
  step: number;
  values: number[];
}
const reference = JSON.parse(
  readFileSync(join(__dirname, "../../fixtures/attribution/reference.json"), "utf8"),
) as {
  bicubic: Record<string, Few>;
  aggregate: Few;
  normalized: Few;
  picture: { maps: Few; middle: Few; normalized: Few; heads: Few[] };
};

// Relative to the largest element. Interpolation and means are float32 in either; the picture's maps come through three
// steps of the network, whose parity is 2e-5.
const AGGREGATED = 1e-6;
const DRAWN = 5e-5;

function errorOf(actual: ArrayLike<number>, { values, step, largest }: Few): number {
  return Math.max(...values.map((value, i) => Math.abs(actual[i * step]! - value))) / largest;
}

async function errorOfTensor(actual: Tensor, few: Few): Promise<number> {
  expect(actual.shape).toEqual(few.shape);
  return errorOf((await actual.data()) as Float32Array, few);
}

describe("the aggregation of attention", () => {
  it.each(Object.entries(reference.bicubic))("interpolates to %s as PyTorch does", async (size, few) => {
    const [height, width] = size.split("x").map(Number) as [number, number];
    const maps = new Random(4).normal([3, 5, 7]);
    expect(await errorOfTensor(bicubic(maps, { width, height }), few)).toBeLessThan(AGGREGATED);
  });

  it.each([
    [false, reference.aggregate],
    [true, reference.normalized],
  ])(
    "averages modules of other sizes and numbers of heads as DAAM does, normalised: %s",
    async (share, few) => {
      const shapes = [[2, 192, 5], [3, 48, 5], [2, 12, 5]]; // prettier-ignore
      const sums = shapes.map((shape, i) => new Random(i + 1).normal(shape).abs());
      expect(await errorOfTensor(aggregate(sums, { width: 16, height: 12 }, share), few)).toBeLessThan(
        AGGREGATED,
      );
    },
  );

  it("refuses places that are none of such a picture", () => {
    const sum = new Random(1).normal([2, 50, 5]);
    expect(() => aggregate([sum], { width: 16, height: 12 }, false)).toThrow(
      "Expected a module's places to be those of 16 × 12, halved some times, but received 50 (number)",
    );
  });
});

describe("attribution", () => {
  const PROMPT = "a photo of a church";
  const options = { seed: 3, steps: 3, guidanceScale: 2, sampler: "ddim" } as const;
  let golden: GoldenModel;
  let found: Attribution;
  beforeAll(async () => {
    golden = await loadGolden("small");
    [found] = (await attribution(golden.model, PROMPT, { ...options, heads: true })) as [Attribution];
  });
  afterAll(() => golden.dispose());

  /** Values of the reference at a word's tokens, of which it has some. */
  function errorOfWords({ words }: Attribution, few: Few, head?: number): number {
    const area = 16 * 16;
    const errors = few.values.flatMap((value, i) => {
      const [token, place] = [Math.floor((i * few.step) / area), (i * few.step) % area];
      const word = words.find(({ tokens }) => tokens.length === 1 && tokens[0] === token);
      const map = head === undefined ? word?.map : word?.heads?.[head];
      return map === undefined ? [] : [Math.abs(map.data[place]! - value)];
    });
    expect(errors.length).toBeGreaterThan(20);
    return Math.max(...errors) / few.largest;
  }

  it("gives each word the map that diffusers' probabilities make, and so each head", () => {
    expect(found.words.map(({ word }) => word)).toEqual(["a", "photo", "of", "church"]);
    expect(found.evaluations).toBe(3);
    expect(errorOfWords(found, reference.picture.maps)).toBeLessThan(DRAWN);
    expect(found.words[1]!.heads).toHaveLength(reference.picture.heads.length);
    for (const [head, few] of reference.picture.heads.entries())
      expect(errorOfWords(found, few, head)).toBeLessThan(DRAWN);
    // Neither the other half of guidance nor the middle block is in it.
    expect(errorOfWords(found, reference.picture.middle)).toBeGreaterThan(100 * DRAWN);
  });

  it("counts the middle block where it is to, and lets words share a place", async () => {
    const [middle] = (await attribution(golden.model, PROMPT, { ...options, middle: true })) as [Attribution];
    const [shared] = (await attribution(golden.model, PROMPT, { ...options, normalize: true })) as [
      Attribution,
    ];
    expect(errorOfWords(middle, reference.picture.middle)).toBeLessThan(DRAWN);
    expect(errorOfWords(shared, reference.picture.normalized)).toBeLessThan(DRAWN);
  });

  it("changes no bit of the picture", async () => {
    const [plain] = (await golden.model.generate(PROMPT, { ...options, batchSize: 1 })) as [Image];
    expect(Buffer.compare(found.image.data, plain.data)).toBe(0);
  });

  it("takes the mean over a word's tokens, wherever it stands", async () => {
    const words = ["photo of", "photo", "of", "a"];
    const [own] = (await attribution(golden.model, PROMPT, { ...options, words })) as [Attribution];
    expect(own.words.map(({ tokens }) => tokens)).toEqual([[2, 3], [2], [3], [1, 4]]); // prettier-ignore
    const [both, photo, of] = own.words.map(({ map }) => map.data) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    const largest = Math.max(...both);
    for (const [place, value] of both.entries())
      expect(Math.abs(value - (photo[place]! + of[place]!) / 2) / largest).toBeLessThan(1e-6);
  });

  it("leaves the pictures, the maps over them and what they are in a folder", async () => {
    const directory = join(temporaryDirectory(), "maps");
    const given = {
      ...options,
      directory,
      words: ["church"],
      heads: true,
      command: "kpop-native attribution",
    };
    const [own] = (await attribution(golden.model, PROMPT, given)) as [Attribution];
    const result = JSON.parse(readFileSync(join(directory, "attribution.json"), "utf8")) as object;
    expect(result).toMatchObject({
      ...{ command: "kpop-native attribution", withKey: false, middle: false, normalize: false },
      pictures: [{ prompt: PROMPT, seed: 3, evaluations: 3, words: [{ word: "church", tokens: [5] }] }],
    });
    expect(readdirSync(directory).sort()).toEqual([
      "1-a-photo-of-a-church-3-1-church-head-1.png",
      "1-a-photo-of-a-church-3-1-church-head-2.png",
      "1-a-photo-of-a-church-3-1-church-head-3.png",
      "1-a-photo-of-a-church-3-1-church-head-4.png",
      "1-a-photo-of-a-church-3-1-church.png",
      "1-a-photo-of-a-church-3.png",
      "attribution.json",
    ]);
    const shown = await Image.load(join(directory, "1-a-photo-of-a-church-3-1-church.png"));
    expect(shown.data).toEqual((await overlay(own.image, own.words[0]!.map)).data);
  });

  it.each([
    [
      "a word that is not there",
      PROMPT,
      { words: ["dog"] },
      /^There is no "dog" in "a photo of a church", among the \d+ tokens that are read of a prompt$/,
    ],
    ["a prompt without words", "...", {}, /^There is no word in "\.\.\.", among/],
    ["no prompt", [], {}, /^Expected prompt to be/],
    ["an unknown option", PROMPT, { head: 1 }, /head/],
  ] as const)("refuses %s, and writes nothing", async (_, prompt, given, message) => {
    const folder = temporaryDirectory();
    const work = attribution(golden.model, prompt, { ...options, ...given, directory: join(folder, "a") });
    await expect(work).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) as string }); // prettier-ignore
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe("a heat map over its picture", () => {
  it("is the picture where it is cold, and jet's darkest red where it is hottest", async () => {
    const image = new Image(2, 1, Uint8Array.from([10, 20, 30, 40, 50, 60]));
    const shown = await overlay(image, { width: 2, height: 1, data: Float32Array.from([0.5, 2]) });
    expect([...shown.data]).toEqual([10, 20, 30, 128, 0, 0]);
  });

  it("has jet's colours in between", async () => {
    const image = new Image(5, 1, new Uint8Array(15));
    const data = Float32Array.from([0, 0.25, 0.5, 0.75, 1]);
    const shown = await overlay(image, { width: 5, height: 1, data });
    // matplotlib's jet(0.5) and jet(0.75) are (0.49, 1, 0.48) and (1, 0.58, 0): at 257 shades, within two of 255.
    const expected = [0, 0, 0, 0, 32, 64, 62, 128, 62, 191, 113, 0, 128, 0, 0];
    for (const [i, value] of [...shown.data].entries())
      expect(Math.abs(value - expected[i]!)).toBeLessThan(3);
  });
});
