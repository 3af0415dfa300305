import { tokenEmbeddings } from "../../../lib/inversion/concept-embedding";
import type { CosineBand } from "../../../lib/inversion/cosine-band";
import type { Inversion } from "../../../lib/inversion/inversion";
import { invertDiverse, type InvertDiverseOptions } from "../../../lib/inversion/invert-diverse";
import type { Tensor } from "../../../lib/runtime/tensor";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { tensorHash } from "../../support/hashes";
import { discPicture } from "../../support/pictures";

const BANDS: CosineBand[] = [
  [-0.4, -0.2],
  [0.6, 0.8],
];

async function cosine(a: Tensor, b: Tensor): Promise<number> {
  const [x, y] = await Promise.all([a, b].map(async (t) => Array.from(await t.data(), Number)));
  const dot = (p: number[], q: number[]): number => p.reduce((sum, value, i) => sum + value * q[i]!, 0);
  return dot(x!, y!) / Math.sqrt(dot(x!, x!) * dot(y!, y!));
}

describe("invertDiverse", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());

  const run = (options: Partial<InvertDiverseOptions> = {}): Promise<Inversion[]> =>
    invertDiverse(golden.model, {
      images: [discPicture(golden.model.imageSize, golden.model.imageSize)],
      concept: "church",
      bands: BANDS,
      iterations: 3,
      batchSize: 1,
      // Far above what training takes, so that every step leaves the bands.
      learningRate: 0.5,
      ...options,
    });

  it("holds each member in its band, within 1e-5, after steps that lead far out of it", async () => {
    const members = await run({ perBand: 2 });
    const own = (await tokenEmbeddings(golden.model, "concept", "church")).mean(0);
    expect(members).toHaveLength(4);
    for (const [index, { embeddings, record }] of members.entries()) {
      const [from, to] = BANDS[Math.floor(index / 2)]!;
      expect(record).toMatchObject({ concept: "church", band: [from, to] });
      const actual = await cosine(embeddings, own);
      expect(actual).toBeGreaterThan(from - 1e-5);
      expect(actual).toBeLessThan(to + 1e-5);
    }
  });

  it("numbers the tokens, so that a prompt can name any of them", async () => {
    const members = await run({ iterations: 1 });
    expect(members.map(({ token }) => token)).toEqual(["<inverted-1>", "<inverted-2>"]);
    const states = await golden.model.encode("a <inverted-2>", { tokens: members });
    expect(await tensorHash(states)).toBe(
      await tensorHash(await golden.model.encode("a <inverted-2>", { tokens: [members[1]!] })),
    );
  });

  it("drives alike members apart by the weight of their similarity", async () => {
    const likeness = async (similarityWeight: number): Promise<number> => {
      const [a, b] = await run({
        bands: [[0.6, 0.8]],
        perBand: 2,
        similarityWeight,
        similarityMargin: -1,
        iterations: 6,
        learningRate: 2e-2,
      });
      return cosine(a!.embeddings, b!.embeddings);
    };
    expect(await likeness(1e3)).toBeLessThan((await likeness(0)) - 0.05);
  });

  it("reports the penalty beside the loss, where there is one", async () => {
    const [member] = await run({ iterations: 1 });
    expect(Object.keys(member!.history[0]!.losses)).toEqual(["denoising", "penalty"]);
    const [alone] = await run({ iterations: 1, bands: [[0, 0.2]] });
    expect(Object.keys(alone!.history[0]!.losses)).toEqual(["denoising"]);
  });

  it("gives the same bits for the same seed", async () => {
    const bits = async (seed: number): Promise<string[]> =>
      Promise.all((await run({ seed, iterations: 1 })).map(({ embeddings }) => tensorHash(embeddings)));
    const first = await bits(1);
    expect(await bits(1)).toEqual(first);
    expect(await bits(2)).not.toEqual(first);
  });

  it.each<[string, object, RegExp]>([
    ["no concept", { concept: " " }, /concept/],
    ["a band that contains no point", { bands: [[0.8, 0.6]] }, /no vector has a cosine in/],
    ["no members", { perBand: 0 }, /perBand/],
    ["a negative weight", { similarityWeight: -1 }, /similarityWeight/],
    ["a margin above 1", { similarityMargin: 2 }, /similarityMargin/],
    ["an option of the single form", { initial: "art" }, /"initial"/],
  ])("refuses %s, naming the option", async (_, options, message) => {
    await expect(run(options)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });
});
