import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { evaluate, type Evaluation } from "../../../lib/evaluation/evaluate";
import type { EvaluateOptions, EvaluationProgress } from "../../../lib/evaluation/evaluate-options";
import { Classifier } from "../../../lib/evaluation/classifier";
import { ClipScorer } from "../../../lib/evaluation/clip-scorer";
import { averageRate, rate } from "../../../lib/evaluation/rates";
import type { Image } from "../../../lib/io/image";
import { Tensor } from "../../../lib/runtime/tensor";
import { evaluationFixture } from "../../support/evaluation";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { temporaryDirectory } from "../../support/temporary-directory";
import { saveClassifier } from "../../support/tiny-classifier";

const CLASSES = ["church", "dog", "owl", "radio", "saw", "fish", "crab"];

/** Ranks the own class of picture i (of `ranks.length` a class) as told; the classes come in the order asked for. */
class Told extends Classifier {
  readonly origin = "told";
  readonly outputs = CLASSES.length;
  readonly classes = new Map(CLASSES.map((name, i) => [name, i]));
  seen = 0;

  constructor(private readonly ranks: readonly (readonly [own: number, rank: number])[]) {
    super();
  }

  protected async logits(images: readonly Image[]): Promise<Tensor> {
    const rows = images.flatMap(() => {
      const [own, rank] = this.ranks[this.seen++]!;
      const others = CLASSES.map((_, i) => i).filter((i) => i !== own);
      const order = [...others.slice(0, rank - 1), own, ...others.slice(rank - 1)];
      return CLASSES.map((_, i) => -order.indexOf(i));
    });
    return Tensor.from(rows, [images.length, CLASSES.length]);
  }

  dispose(): void {}
}

describe("evaluate", () => {
  let golden: GoldenModel;
  let cacheDirectory: string;
  const common = () => ({
    imagesPerClass: 3,
    steps: 2,
    guidanceScale: 2,
    width: 32,
    height: 32,
    cacheDirectory,
    erased: ["church", "Owl"],
    preserved: ["dog"],
    classifier: new Told(told),
  });
  const run = (options: Partial<EvaluateOptions>): Promise<Evaluation> =>
    evaluate(golden.model, { ...common(), ...options });
  const told = [
    ...[1, 2, 7].map((rank): [number, number] => [0, rank]),
    ...[6, 3, 2].map((rank): [number, number] => [2, rank]),
    ...[1, 1, 4].map((rank): [number, number] => [1, rank]),
  ];

  beforeAll(async () => {
    golden = await loadGolden("small");
    cacheDirectory = temporaryDirectory();
  });
  afterAll(() => golden.dispose());

  it("gives ESR-k and PSR-k of each class, and their means", async () => {
    const resultFile = join(temporaryDirectory(), "made", "evaluation.json");
    const found = await run({ resultFile });
    expect(found.classes).toEqual([
      {
        name: "church",
        group: "erased",
        prompt: "a photo of a church",
        rates: { 1: rate(2, 3), 5: rate(1, 3) },
      },
      { name: "Owl", group: "erased", prompt: "a photo of a Owl", rates: { 1: rate(3, 3), 5: rate(1, 3) } },
      {
        name: "dog",
        group: "preserved",
        prompt: "a photo of a dog",
        rates: { 1: rate(2, 3), 5: rate(3, 3) },
      },
    ]);
    expect(found.esr).toEqual({
      1: averageRate([rate(2, 3), rate(3, 3)]),
      5: averageRate([rate(1, 3), rate(1, 3)]),
    });
    expect(found.psr).toEqual({ 1: rate(2, 3), 5: rate(3, 3) });
    expect(found.clipScore).toBeUndefined();
    expect(found).toMatchObject({ images: 9, generated: 9 });
    expect(found.pictures[4]).toEqual({
      class: "Owl",
      seed: 1,
      path: expect.stringMatching(/a-photo-of-a-owl-1-.*\.png$/),
      rank: 3,
      best: 0,
    });
    expect(JSON.parse(readFileSync(resultFile, "utf8"))).toEqual(JSON.parse(JSON.stringify(found)));
  });

  it("lets shards make the pictures, and measures them afterwards as one process does", async () => {
    const folders = [temporaryDirectory(), temporaryDirectory()];
    const [alone, shared] = folders.map((folder) => ({
      cacheDirectory: join(folder, "images"),
      resultFile: join(folder, "evaluation.json"),
    }));
    const expected = await run({ ...alone, batchSize: 2 });
    const part = (index: number, options: object = {}) =>
      evaluate(golden.model, {
        ...common(),
        ...shared!,
        batchSize: 2,
        shard: { index, count: 2 },
        ...options,
      });
    expect(await part(1)).toMatchObject({ shard: { index: 1, count: 2 }, images: 4, generated: 4 });
    // One that was killed has made some of its pictures.
    const controller = new AbortController();
    const onProgress = ({ generated }: EvaluationProgress) => generated === 2 && controller.abort();
    await expect(part(0, { onProgress, signal: controller.signal })).rejects.toMatchObject({
      code: "ABORTED",
    });
    expect(readdirSync(folders[1]!).sort()).toEqual(["evaluation.shards.json", "images"]);
    expect(await part(0)).toMatchObject({ images: 5, generated: 3 });
    const found = await run({ ...shared, batchSize: 2 });
    expect(found.generated).toBe(0);
    const figures = ({ classes, esr, psr, pictures }: Evaluation) => ({
      ...{ classes, esr, psr },
      pictures: pictures.map(({ path, ...rest }) => ({ ...rest, bytes: readFileSync(path) })),
    });
    expect(figures(found)).toEqual(figures(expected));
    expect(readdirSync(folders[1]!).sort()).toEqual(["evaluation.json", "images"]);
  });

  it("refuses shards of other options, and what is left under others, before a picture is made", async () => {
    const folder = temporaryDirectory();
    const shared = { cacheDirectory: join(folder, "images"), resultFile: join(folder, "evaluation.json") };
    await evaluate(golden.model, { ...common(), ...shared, shard: { index: 0, count: 2 } });
    const [set] = readdirSync(shared.cacheDirectory);
    const other = { ...common(), ...shared, steps: 3 };
    for (const wrong of [
      evaluate(golden.model, { ...other, shard: { index: 1, count: 2 } }),
      evaluate(golden.model, other),
    ])
      await expect(wrong).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(
          /evaluation\.shards\.json is of shards with other options.*steps was 2 there and is 3 here/,
        ),
      });
    expect(readdirSync(shared.cacheDirectory)).toEqual([set]);
    await expect(evaluate(golden.model, { ...common(), shard: { index: 0, count: 2 } })).rejects.toThrow(
      /resultFile to be given with shard/,
    );
  });

  it("makes the pictures once, and more of them beside", async () => {
    await run({});
    expect((await run({})).generated).toBe(0);
    const more = await run({ imagesPerClass: 4, classifier: new Told(Array(12).fill([0, 1])) });
    expect(more).toMatchObject({ images: 12, generated: 3 });
  });

  it("estimates once, when the first steps are done, then tells of pictures made and looked at", async () => {
    const seen: EvaluationProgress[] = [];
    await run({ cacheDirectory: temporaryDirectory(), steps: 3, onProgress: (p) => seen.push(p) });
    expect(seen[0]).toMatchObject({ phase: "estimate", done: 0, total: 9, generated: 0 });
    expect(seen[0]!.etaSeconds).toBeGreaterThan(0);
    expect(seen.filter(({ phase }) => phase === "estimate")).toHaveLength(1);
    expect(seen.at(-1)).toEqual({ phase: "classes", done: 9, total: 9, generated: 9, etaSeconds: 0 });
    const phases = seen.map(({ phase }) => phase);
    expect(phases.lastIndexOf("images")).toBeLessThan(phases.indexOf("classes"));
  });

  it("adds CLIP scores with a CLIP, and asks it zero-shot without a classifier", async () => {
    const clip = await ClipScorer.load(evaluationFixture("clip"));
    const found = await evaluate(golden.model, {
      erased: ["church"],
      preserved: ["dog", "owl"],
      imagesPerClass: 2,
      steps: 2,
      width: 32,
      height: 32,
      cacheDirectory,
      clip,
    });
    // Three classes to choose from: the default 5 would count every picture.
    expect(Object.keys(found.esr)).toEqual(["1"]);
    const scores = found.pictures.map(({ clipScore }) => clipScore!);
    expect(found.clipScore!.erased).toMatchObject({ value: (scores[0]! + scores[1]!) / 2, total: 2 });
    expect(found.clipScore!.preserved!.total).toBe(4);
    expect(found.classes[2]!.clipScore!.value).toBeCloseTo((scores[4]! + scores[5]!) / 2, 10);
    clip.dispose();
  });

  it("loads a classifier from a folder", async () => {
    const folder = temporaryDirectory();
    await saveClassifier(folder, CLASSES);
    const found = await run({ classifier: folder });
    expect(found.pictures.every(({ rank }) => rank >= 1 && rank <= CLASSES.length)).toBe(true);
  });

  it.each<[string, object, RegExp]>([
    ["no classes", { erased: [], preserved: undefined }, /erased to be given, or preserved/],
    ["no pictures", { imagesPerClass: 0 }, /imagesPerClass to be an integer >= 1/],
    [
      "a class that the classifier lacks",
      { preserved: ["cat"] },
      /told knows no class "cat"; it knows church, dog/,
    ],
    ["a class in both groups", { preserved: ["CHURCH"] }, /free of repetitions.*"church"/],
    ["a prompt without a place for the class", { prompt: "a photo" }, /prompt to be a text with one \{\}/],
    ["more places than classes", { topK: [1, 7] }, /topK to be below 7.*received 7/],
    ["no places", { topK: [] }, /topK to be a non-empty list/],
    ["neither classifier nor CLIP", { classifier: undefined }, /a classifier or a clip.*neither/],
    ["an unknown option", { images: 3 }, /"images" in the evaluate options/],
    ["a classifier that is none", { classifier: {} }, /classifier to be a loaded classifier or a path/],
    ["one text for names", { erased: "church" }, /erased to be a list of strings/],
  ])("refuses %s, before any picture is made", async (_, options, message) => {
    const own = temporaryDirectory();
    await expect(run({ cacheDirectory: own, ...options })).rejects.toMatchObject({
      name: "KpopError",
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message),
    });
    expect(readdirSync(own)).toEqual([]);
  });

  it("refuses a result file that cannot be written, and a model that is none, at once", async () => {
    await expect(run({ resultFile: cacheDirectory })).rejects.toMatchObject({
      code: "IO_ERROR",
      message: expect.stringContaining("it is a folder"),
    });
    await expect(evaluate(5 as never, { erased: ["church"] })).rejects.toMatchObject({
      message: expect.stringContaining("model to be a StableDiffusion or a path"),
    });
  });

  it("stops when the signal fires", async () => {
    await expect(run({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
  });
});
