import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { StableDiffusion } from "../../../../lib/diffusion/stable-diffusion";
import { erase } from "../../../../lib/erasure/erase";
import type { Erasure } from "../../../../lib/erasure/erasure";
import type { EsdOptions } from "../../../../lib/erasure/methods/esd";
import { NEIGHBOURS, nearestWords } from "../../../../lib/erasure/shared/neighbours";
import { scope } from "../../../../lib/runtime/scope";
import { wholeWords } from "../../../../lib/text/vocabulary";
import { cacheFolder } from "../../../../lib/runtime/cache-directory";
import type { PrepareReport, StepReport } from "../../../../lib/training/step-report";
import { loadFamily } from "../../../support/family-model";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { weightHashes } from "../../../support/hashes";
import { matrix } from "../../../support/matrix";
import { temporaryDirectory } from "../../../support/temporary-directory";

const WORDS = [
  ...[
    "chapel",
    "castle",
    "temple",
    "dog",
    "dogs",
    "fish",
    "radio",
    "truck",
    "parachute",
    "horn",
    "golf",
    "pump",
  ],
  ...["saw", "tower", "bell", "priest", "mosque", "house", "houses", "river", "mountain", "cloud", "Church"],
  ...["churches", "church", "altar", "steeple", "a church bell", "the sea", "violin", "piano", "drum", "cat"],
];
/** Of more words than this, the nearest by their tokens' embeddings alone are encoded. */
const ENCODED = 1000;

describe("nearestWords", () => {
  let golden: GoldenModel;
  let model: StableDiffusion;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
    ({ model } = golden);
  });
  beforeEach(() => void (process.env["XDG_CACHE_HOME"] = temporaryDirectory()));
  afterAll(async () => {
    delete process.env["XDG_CACHE_HOME"];
    await golden.dispose();
  });

  /** The state at the end token of a full row. */
  async function endState(text: string, of = model): Promise<number[]> {
    const ids = of.tokenizer.encode([text])[0]!;
    return scope(async () => {
      const { context } = await of.condition([text]);
      return Array.from((await matrix(context.squeeze(0)))[ids.indexOf(of.tokenizer.eosTokenId)]!);
    });
  }

  it("takes the nearest by the text encoder's end states, and no word of the concept's own", async () => {
    const expected = WORDS.filter((word) => !["Church", "church", "churches"].includes(word));
    const vectors = await Promise.all(expected.map((word) => endState(word)));
    const order = nearestFirst(expected, vectors, await endState("church"));
    for (const count of [1, 7, expected.length, 1000])
      expect(await nearestWords(model, ["church"], { count, words: WORDS })).toEqual(order.slice(0, count));
    const plural = await nearestWords(model, ["churches"], { count: 1000, words: WORDS });
    expect([...plural].sort()).toEqual([...expected].sort());
  });

  it("gives several concepts their turns, and no word twice", async () => {
    const concepts = ["church", "dog house"];
    const others = WORDS.filter((word) => !/^(church|churches|dog|dogs|house|houses)$/i.test(word));
    const vectors = await Promise.all(others.map((word) => endState(word)));
    const orders: string[][] = [];
    for (const concept of concepts) orders.push(nearestFirst(others, vectors, await endState(concept)));
    const expected = [...new Set(orders[0]!.flatMap((word, place) => [word, orders[1]![place]!]))];
    const found = await nearestWords(model, concepts, { count: 9, words: [...WORDS, ...WORDS] });
    expect(found).toEqual(expected.slice(0, 9));
  });

  it("lets the second encoder of two see twice as many words as are asked for, those nearest by the first", async () => {
    const xl = await loadFamily("xl");
    const { textEncoder } = xl.model;
    const others = WORDS.filter((word) => !["Church", "church", "churches"].includes(word));
    const [vectors, own] = [await Promise.all(others.map((word) => endState(word, xl.model))), await endState("church", xl.model)]; // prettier-ignore
    const first = (vector: readonly number[]): number[] => vector.slice(0, textEncoder.config.hidden_size);
    const seen = nearestFirst(others, vectors.map(first), first(own)).slice(0, 10);
    const vectorsOfSeen = seen.map((word) => vectors[others.indexOf(word)]!);
    const expected = nearestFirst(seen, vectorsOfSeen, own).slice(0, 5);
    expect(expected).not.toEqual(nearestFirst(others, vectors, own).slice(0, 5));
    expect(await nearestWords(xl.model, ["church"], { count: 5, words: WORDS })).toEqual(expected);
    await xl.dispose();
  });

  it("encodes of many words those alone whose tokens' embeddings are nearest", async () => {
    const words = (await wholeWords(model.tokenizer)).slice(0, ENCODED + 200);
    const others = words.filter((word) => !word.startsWith("church"));
    const table = await scope(async () =>
      matrix(model.textEncoder.parameter("text_model.embeddings.token_embedding.weight")),
    );
    const embedding = (word: string): readonly number[] => table[model.tokenizer.encode([word])[0]![1]!]!;
    const near = nearestFirst(others, others.map(embedding), embedding("church")).slice(0, ENCODED);
    const vectors = await Promise.all(near.map((word) => endState(word)));
    const expected = nearestFirst(near, vectors, await endState("church"));
    const reports: PrepareReport[] = [];
    const onPrepare = (report: PrepareReport) => void reports.push(report);
    const found = await nearestWords(model, ["church"], { count: 50, words }, { onPrepare });
    // In float32 what is all but level may change places.
    for (const [place, word] of found.entries())
      expect(Math.abs(expected.indexOf(word) - place)).toBeLessThanOrEqual(1);
    expect(found).toHaveLength(50);
    expect(reports.map(({ what, total }) => [what, total])).toContainEqual(["word", ENCODED]);
    expect(reports.at(-1)).toMatchObject({ done: ENCODED, etaSeconds: 0 });
    const encode = jest.spyOn(model.textEncoder, "forward");
    expect(await nearestWords(model, ["church"], { count: 50, words })).toEqual(found);
    expect(encode).not.toHaveBeenCalled();
    await nearestWords(model, ["church"], { count: 49, words });
    expect(encode).toHaveBeenCalled();
    encode.mockRestore();
  });

  it("chooses again where the cache holds something else or can't be written", async () => {
    const words = (await wholeWords(model.tokenizer)).slice(0, ENCODED + 100);
    const choose = (): Promise<readonly string[]> => nearestWords(model, ["church"], { count: 5, words });
    const found = await choose();
    const folder = join(cacheFolder(), "neighbours");
    for (const name of await readdir(folder)) await writeFile(join(folder, name), '{"words":[1]}');
    expect(await choose()).toEqual(found);
    process.env["XDG_CACHE_HOME"] = "/proc/none";
    expect(await choose()).toEqual(found);
  });

  it("takes whole words of the tokenizer where none are given, the same ones each time", async () => {
    const known = new Set(await wholeWords(model.tokenizer));
    const found = await nearestWords(model, ["church"], { count: 100, words: [] });
    expect(new Set(found).size).toBe(100);
    expect(found.filter((word) => !known.has(word))).toEqual([]);
    expect(await nearestWords(model, ["church"], { count: 100, words: [] })).toEqual(found);
  });

  it("refuses words that are all the concepts' own", async () => {
    await expect(
      nearestWords(model, ["church"], { count: 3, words: ["church", "Churches"] }),
    ).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/neighbours\.words .* all 2 are theirs/) as string,
    });
    expect(await nearestWords(model, ["church"], { count: 3, words: ["dog"] })).toEqual(["dog"]);
  });

  it("stops on a signal", async () => {
    const call = nearestWords(model, ["church"], { count: 3, words: WORDS }, { signal: AbortSignal.abort() });
    await expect(call).rejects.toMatchObject({ code: "ABORTED" });
  });

  it.each([
    ["uce", {}],
    ["time", { target: "dog" }],
  ] as const)("are held by %s as what is named in preserve is", async (method, options) => {
    const words = ["temple", "castle", "radio"];
    const common = { method, concepts: "church", ...options };
    const near = await erase(model, { ...common, neighbours: { words } });
    expect([...near.manifest.neighbours].sort()).toEqual([...words].sort());
    const preserve = near.manifest.neighbours;
    const named = await erase(model, { ...common, preserve, neighbours: "off" });
    expect(named.manifest.neighbours).toEqual([]);
    expect(await weightHashes(near.model.unet)).toEqual(await weightHashes(named.model.unet));
    const bare = await erase(model, { ...common, neighbours: "off" });
    expect(await weightHashes(bare.model.unet)).not.toEqual(await weightHashes(named.model.unet));
    for (const erasure of [near, named, bare]) erasure.dispose();
  });

  it("are none for a method that changes nothing that others see, and refused where they are asked for", async () => {
    const common = { method: "sld", concepts: "church" } as const;
    const erasure = await erase(model, common);
    expect(erasure.manifest.neighbours).toEqual([]);
    erasure.dispose();
    const words = { method: "ca", parameters: "embedding", concepts: "church dog", anchor: "dog" } as const;
    for (const options of [common, words])
      await expect(erase("nowhere", { ...options, neighbours: "nearest" })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining(`neighbours to be "off" with "${options.method}"`) as string,
      });
  });
});

describe("adversarial neighbours", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());
  const words = ["temple", "castle", "radio", "dog"];
  const run = (choose: "nearest" | "adversarial", more: Partial<EsdOptions> = {}): Promise<Erasure> =>
    erase(golden.model, {
      ...{ concepts: "church", seed: 4, iterations: 4, samplingSteps: 4, poolSize: 1, learningRate: 1e-3 },
      ...{ batchSize: 1, neighbours: { choose, words } },
      ...more,
      method: "esd",
    });

  it("are looked for once an iteration, at an evaluation of each model, to the same bits each time", async () => {
    const [erasure, again, nearest] = [
      await run("adversarial"),
      await run("adversarial"),
      await run("nearest"),
    ];
    expect(erasure.history.map(({ losses }) => Object.keys(losses))).toEqual(
      Array(4).fill(["erase", "preserve", "harm"]),
    );
    const bits = await weightHashes(erasure.model.unet);
    expect(await weightHashes(again.model.unet)).toEqual(bits);
    expect(await weightHashes(nearest.model.unet)).not.toEqual(bits);
    expect(erasure.manifest.unetEvaluations - nearest.manifest.unetEvaluations).toBe(4 * 2);
    expect(erasure.manifest.options["neighbours"]).toMatchObject({ choose: "adversarial" });
    for (const each of [erasure, again, nearest]) each.dispose();
  });

  it("are looked for by KPOP too, whose learned words are put behind the words found", async () => {
    const prompt = { place: "token", selectivity: 0.1 } as const;
    const kpop = (choose: "nearest" | "adversarial"): Promise<Erasure> =>
      erase(golden.model, {
        ...{ concepts: "church", seed: 4, iterations: 2, samplingSteps: 4, poolSize: 1, batchSize: 1 },
        ...{ neighbours: { choose, words }, preserve: ["a fish"], prompt },
      });
    const [erasure, nearest] = [await kpop("adversarial"), await kpop("nearest")];
    for (const { losses } of erasure.history) expect(losses["harm"]).toBeGreaterThan(0);
    expect(erasure.manifest.unetEvaluations - nearest.manifest.unetEvaluations).toBe(2 * 2);
    for (const each of [erasure, nearest]) each.dispose();
  });

  it("go on from a saved state to the bits of a run that was not interrupted", async () => {
    const checkpoint = { directory: join(temporaryDirectory(), "state"), every: 1 };
    const controller = new AbortController();
    const onStep = ({ iteration }: StepReport): void => {
      if (iteration === 2) controller.abort();
    };
    const stopped = run("adversarial", { checkpoint, signal: controller.signal, onStep });
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
    await expect(run("nearest", { checkpoint, resume: true })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("other options") as string,
    });
    const resumed = await run("adversarial", { checkpoint, resume: true });
    const whole = await run("adversarial");
    expect(await weightHashes(resumed.model.unet)).toEqual(await weightHashes(whole.model.unet));
    expect(resumed.history.map(({ losses }) => losses)).toEqual(whole.history.map(({ losses }) => losses));
    for (const each of [resumed, whole]) each.dispose();
  });

  it.each([
    ["uce", "a closed form, which has no iterations"],
    ["saeuron", "which trains on no text's prediction"],
  ] as const)("are refused for %s, %s", async (method, why) => {
    const call = erase("nowhere", { method, concepts: "church", neighbours: "adversarial" });
    await expect(call).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(`"nearest" or "off" with "${method}", ${why}`) as string,
    });
  });
});

describe("the option neighbours", () => {
  const check = (value: unknown): unknown => NEIGHBOURS.check("neighbours", value, { concepts: ["church"] });

  it("is a word, or an object that defaults complete", () => {
    expect(check("off")).toEqual({ choose: "off", count: 100, words: [] });
    expect(check({ count: 3, words: ["a"] })).toEqual({ choose: "nearest", count: 3, words: ["a"] });
  });

  it.each([
    ["another word", "near", /neighbours to be one of/],
    ["a list", ["dog"], /neighbours to be "nearest", "adversarial", "off" or an object/],
    ["an unknown member", { number: 3 }, /"number"/],
    ["a choice that is none", { choose: "all" }, /neighbours\.choose/],
    ["no words at all", { count: 0 }, /neighbours\.count/],
    ["an empty word", { words: [" "] }, /neighbours\.words/],
  ])("refuses %s", (_, value, message) => {
    expect(() => check(value)).toThrow(message);
  });
});

/** Words by their cosine with a vector, as seen from their mean, the largest first. */
function nearestFirst(
  words: readonly string[],
  vectors: readonly (readonly number[])[],
  to: readonly number[],
): string[] {
  const mean = to.map((_, i) => vectors.reduce((sum, vector) => sum + vector[i]!, 0) / vectors.length);
  const seen = (vector: readonly number[]): number[] => vector.map((value, i) => value - mean[i]!);
  const dot = (a: readonly number[], b: readonly number[]): number =>
    a.reduce((sum, value, i) => sum + value * b[i]!, 0);
  const from = seen(to);
  const cosines = vectors.map((vector) => {
    const own = seen(vector);
    return dot(own, from) / Math.sqrt(dot(own, own) * dot(from, from));
  });
  return words
    .map((word, i) => [word, cosines[i]!] as const)
    .sort(([, a], [, b]) => b - a)
    .map(([word]) => word);
}
