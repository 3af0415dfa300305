import { wordsAround, type WordChoice } from "../../../../lib/erasure/shared/word-choice";
import { stubJob } from "../../../support/erasure-job";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";

const VOCABULARY = ["castle", "temple", "dog", "tree", "house", "car", "fish", "tower"];

describe("wordsAround", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());

  const around = (options: Partial<WordChoice> = {}, concepts = ["church"], signal?: AbortSignal) => {
    const job = stubJob({ base: golden.model, concepts, signal });
    return wordsAround(job, { vocabulary: VOCABULARY, candidates: 100, words: 100, ...options });
  };
  const states = async (text: string): Promise<number[]> =>
    Array.from(await (await golden.model.encode(text)).data(), Number);
  /** Words with the Euclidean distance of their states from a concept's, the nearest first. */
  async function distances(concept: string): Promise<[string, number][]> {
    const own = await states(concept);
    const found = VOCABULARY.map(async (word): Promise<[string, number]> => {
      const other = await states(word);
      return [word, Math.sqrt(other.reduce((sum, x, i) => sum + (x - own[i]!) ** 2, 0))];
    });
    return (await Promise.all(found)).sort((a, b) => a[1] - b[1]);
  }

  it("are the nearest to each concept, the nearest first", async () => {
    const concepts = ["church", "truck"];
    const expected = await Promise.all(concepts.map(distances));
    expect(await around({ candidates: 5 }, concepts)).toEqual(
      expected.map((near) => near.slice(0, 5).map(([word]) => word)),
    );
  });

  it("are thinned out over their distances, with the two ends of a cleft on either side", async () => {
    const near = (await distances("church")).slice(0, 6);
    const values = near.map(([, distance]) => distance);
    const square = (list: number[]): number => {
      const mean = list.reduce((a, b) => a + b, 0) / list.length;
      return list.reduce((sum, x) => sum + (x - mean) ** 2, 0);
    };
    const splits = [1, 2, 3, 4, 5].map((at) => square(values.slice(0, at)) + square(values.slice(at)));
    const cleft = 1 + splits.indexOf(Math.min(...splits));
    const [found] = await around({ candidates: 6, words: 2 });
    const places = found!.map((word) => near.findIndex(([own]) => own === word));
    expect(places).toHaveLength(2);
    expect(places[0]).toBeLessThan(cleft);
    expect(places[1]).toBeGreaterThanOrEqual(cleft);
  });

  it("are none of the concepts' own, whichever concept they are near to", async () => {
    const vocabulary = ["church", "Churches", "dog", "dogs", "castle"];
    expect(await around({ vocabulary }, ["old church", "dog"])).toEqual([["castle"], ["castle"]]);
    await expect(around({ vocabulary: ["churches"] })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("of 1 there are none") as string,
    });
  });

  it("are the tokenizer's whole words where none are given", async () => {
    const [found] = await around({ vocabulary: [], candidates: 20, words: 10 });
    expect(found!.length).toBeGreaterThan(5);
    for (const word of found!) expect(word).toMatch(/^\p{L}{3,}$/u);
  });

  it("are not looked for any further when the signal fires", async () => {
    const run = around({}, ["church"], AbortSignal.abort());
    await expect(run).rejects.toMatchObject({ code: "ABORTED" });
  });
});
