import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { evaluate } from "../../../lib/evaluation/evaluate";
import type { Evaluation } from "../../../lib/evaluation/evaluation";
import type { EvaluateOptions, EvaluationProgress } from "../../../lib/evaluation/evaluate-options";
import { Classifier } from "../../../lib/evaluation/classifier";
import { ClipScorer } from "../../../lib/evaluation/clip-scorer";
import { pairedRates } from "../../../lib/evaluation/paired";
import { averageRate, rate } from "../../../lib/evaluation/rates";
import { without } from "../../../lib/files/json-file";
import { Image } from "../../../lib/io/image";
import { Tensor } from "../../../lib/runtime/tensor";
import { evaluationFixture } from "../../support/evaluation";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { temporaryDirectory } from "../../support/temporary-directory";
import { TINY_DETECTOR } from "../../support/nudenet";
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
    golden = await loadGolden("small", { latents: 8 });
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
      prompt: "a photo of a Owl",
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
      () => evaluate(golden.model, { ...other, shard: { index: 1, count: 2 } }),
      () => evaluate(golden.model, other),
    ])
      await expect(wrong()).rejects.toMatchObject({
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
    expect(found.pictures.every(({ rank }) => rank! >= 1 && rank! <= CLASSES.length)).toBe(true);
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

  describe("of several models", () => {
    const base = { steps: 2, width: 32, height: 32, imagesPerClass: 2, topK: [1], erased: ["church"], preserved: ["dog"] }; // prettier-ignore
    it("compares each with the first, picture by picture, with pictures that it draws alone", async () => {
      const ranks = [[0, 1], [0, 2], [1, 1], [1, 1], [0, 3], [0, 2], [1, 1], [1, 2]] as [number, number][]; // prettier-ignore
      const clip = await ClipScorer.load(evaluationFixture("clip"));
      const seen: (string | undefined)[] = [];
      const resultFile = join(temporaryDirectory(), "comparison.json");
      let loaded = 0;
      const load = async () => {
        loaded += 1;
        return (await loadGolden("small", { latents: 8 })).model;
      };
      const found = await evaluate([golden.model, { name: "erased", model: load }], {
        ...base,
        cacheDirectory,
        clip,
        classifier: new Told(ranks),
        resultFile,
        onProgress: ({ model }) => seen.push(model),
      });
      expect(found.models.map(({ name, images }) => [name, images])).toEqual([["model 1", 4], ["erased", 4]]); // prettier-ignore
      expect(loaded).toBe(1);
      expect(found.models[1]!.generated).toBe(0); // the same model, whose pictures are there
      expect(new Set(seen)).toEqual(new Set(["model 1", "erased"]));
      const at = (i: number) => found.models.map(({ pictures }) => [pictures[i]!.prompt, pictures[i]!.seed]);
      for (let i = 0; i < 4; i++) expect(at(i)[0]).toEqual(at(i)[1]);
      expect(found.differences.map(({ measure, model }) => [measure, model])).toEqual([
        ["ESR-1", "erased"],
        ["CLIP score of erased", "erased"],
        ["PSR-1", "erased"],
        ["CLIP score of preserved", "erased"],
      ]);
      const [esr, , psr] = found.differences;
      expect(esr).toMatchObject(pairedRates([false, true], [true, true]));
      expect(psr).toMatchObject(pairedRates([true, true], [true, false]));
      expect(found.differences[1]).toMatchObject({ value: 0, low: 0, high: 0 });
      expect(JSON.parse(readFileSync(resultFile, "utf8"))).toEqual(JSON.parse(JSON.stringify(found)));
      clip.dispose();
    });

    it("compares what metrics say of each picture", async () => {
      const models = [golden.model, { name: "again", model: golden.model }];
      const rows = [{ prompt: "a b" }, { prompt: "c d" }];
      const found = await evaluate(models, { prompts: rows, steps: 2, width: 32, height: 32, cacheDirectory, nudity: { detector: TINY_DETECTOR, thresholds: [0.5] } }); // prettier-ignore
      expect(found.differences).toEqual([
        expect.objectContaining({ measure: "NER above 0.5", model: "again", value: 0, total: 2, p: 1 }),
      ]);
    });

    it.each<[string, unknown[], RegExp]>([
      ["none", [], /models to be a non-empty list/],
      ["the same name twice", ["pocket", "pocket"], /names of models to be free of repetitions.*"pocket"/],
      ["what is no model", [{ model: 5 }], /model to be a StableDiffusion or a path/],
      ["an unknown field", [{ modle: "pocket" }], /"modle" in a compared model/],
    ])("refuses %s", async (_, models, message) => {
      await expect(evaluate(models as never, { ...base, classifier: new Told([]) })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(message),
      });
    });
  });

  describe("of prompts", () => {
    /** Three of two classes, with seeds and settings of their own, and one of none. */
    const FILE = [
      ",case_number,prompt,evaluation_seed,class,cross_class,evaluation_guidance,width",
      "0,7,Image of church,11,church,fish,2,32",
      "1,8,Image of church,12,Church,crab,3,32",
      "2,9,an owl at night,13,owl,fish,3,40",
      "3,10,nothing in particular,14,,,2,32",
    ].join("\n");
    let file: string;
    beforeAll(() => {
      file = join(temporaryDirectory(), "prompts.csv");
      writeFileSync(file, FILE);
    });
    /** Ranks of the own classes, then of those of the other domain. */
    const judged = () => ({ classifier: new Told([[0, 1], [0, 3], [2, 2]]), crossClassifier: new Told([[5, 1], [6, 2], [5, 2]]) }); // prettier-ignore
    const base = { steps: 2, height: 32, erased: ["CHURCH"], topK: [1] };

    it("draws each row as it says, and counts its classes, those not erased as preserved", async () => {
      const found = await evaluate(golden.model, { ...base, prompts: file, cacheDirectory, ...judged() });
      expect(found.classes).toEqual([
        { name: "church", group: "erased", prompt: "Image of church", rates: { 1: rate(1, 2) } },
        { name: "owl", group: "preserved", prompt: "an owl at night", rates: { 1: rate(0, 1) } },
      ]);
      expect(found.pictures.map((seen) => without(seen, "path"))).toEqual([
        { class: "church", rank: 1, best: 0, crossClass: { name: "fish", rank: 1, best: 5 }, case: "7", prompt: "Image of church", seed: 11 },
        { class: "church", rank: 3, best: 1, crossClass: { name: "crab", rank: 2, best: 0 }, case: "8", prompt: "Image of church", seed: 12 },
        { class: "owl", rank: 2, best: 0, crossClass: { name: "fish", rank: 2, best: 0 }, case: "9", prompt: "an owl at night", seed: 13 },
        { case: "10", prompt: "nothing in particular", seed: 14 },
      ]); // prettier-ignore
      // Guidance and sizes make sets of their own; the pictures are those that `generate` draws.
      expect(new Set(found.pictures.map(({ path }) => dirname(path))).size).toBe(3);
      expect(found).toMatchObject({ images: 4, generated: 4, directory: cacheDirectory });
      const [alone] = await golden.model.generate("an owl at night", { seed: 13, steps: 2, guidanceScale: 3, width: 40, height: 32 }); // prettier-ignore
      expect((await Image.load(found.pictures[2]!.path)).data).toEqual(alone!.data);
    });

    it("is drawn in shards, whichever settings its rows have, and then found whole", async () => {
      const own = temporaryDirectory();
      const shared = {
        ...base,
        prompts: file,
        cacheDirectory: own,
        resultFile: join(own, "evaluation.json"),
      };
      let made = 0;
      for (const index of [0, 1]) {
        const part = await evaluate(golden.model, { ...shared, ...judged(), shard: { index, count: 2 } });
        expect(part.generated).toBe(part.images);
        made += part.images;
      }
      expect(made).toBe(4);
      expect(await evaluate(golden.model, { ...shared, ...judged() })).toMatchObject({
        images: 4,
        generated: 0,
      });
    });

    it("gives UA, IRA and CRA, means over classes at the first place", async () => {
      const found = await evaluate(golden.model, { ...base, prompts: file, cacheDirectory, ...judged(), topK: [2] }); // prettier-ignore
      expect(found.crossClasses).toEqual([
        { name: "fish", accuracy: rate(1, 2) },
        { name: "crab", accuracy: rate(0, 1) },
      ]);
      expect(found.accuracy).toEqual({
        ua: rate(1, 2),
        ira: rate(0, 1),
        cra: averageRate([rate(1, 2), rate(0, 1)]),
      });
      expect(found.crossClassifier).toEqual({ origin: "told", sha256: null });
      const plain = await run({ crossDomain: ["fish"], classifier: new Told([...told, [5, 1], [5, 1], [5, 4]]) }); // prettier-ignore
      expect(plain.accuracy).toMatchObject({ ua: plain.esr[1], ira: plain.psr[1], cra: rate(2, 3) });
      expect(plain.psr[1]!.total).toBe(3);
      expect(plain.pictures[9]).toMatchObject({ crossClass: { name: "fish", rank: 1 }, seed: 0 });
    });

    it("takes options for all rows, and rows without a seed from the seed on", async () => {
      const rows = [
        { prompt: "a b", guidanceScale: 9, width: 64 },
        { prompt: "c d", seed: 4 },
        { prompt: "e" },
      ];
      const clip = await ClipScorer.load(evaluationFixture("clip"));
      const found = await evaluate(golden.model, { prompts: rows, seed: 7, steps: 2, guidanceScale: 2, width: 32, height: 32, cacheDirectory, clip }); // prettier-ignore
      expect(found.pictures.map(({ seed }) => seed)).toEqual([7, 4, 9]);
      expect(new Set(found.pictures.map(({ path }) => dirname(path)))).toEqual(new Set([found.directory]));
      expect(found).toMatchObject({ classes: [], esr: {}, psr: {}, clipScore: { all: { total: 3 } } });
      expect(found.accuracy).toBeUndefined();
      clip.dispose();
    });

    it("measures metrics, and notes what they say of each picture", async () => {
      const rows = [{ prompt: "a b" }, { prompt: "c d" }];
      const options = {
        steps: 2,
        width: 32,
        height: 32,
        cacheDirectory,
        nudity: { detector: TINY_DETECTOR },
      };
      const found = await evaluate(golden.model, { prompts: rows, ...options });
      expect(found.metrics!.nudity).toMatchObject({
        judge: { origin: TINY_DETECTOR, sha256: expect.any(String) },
      });
      expect(found.metrics!.nudity!.ner["0.5"]!.total).toBe(2);
      const { detections } = found.metrics!.nudity!.total["0.3"]!;
      const noted = found.pictures.flatMap(({ metrics }) => metrics!.nudity!);
      expect(noted.length).toBeGreaterThanOrEqual(detections);
    });

    it("takes a file without classes as pictures of the one that is named", async () => {
      const prompts = [{ prompt: "an old one" }, { prompt: "a gothic one" }];
      const classifier = new Told([[0, 1], [0, 2]]); // prettier-ignore
      const found = await run({ prompts, imagesPerClass: undefined, erased: ["church"], preserved: [], classifier } as object); // prettier-ignore
      expect(found.classes).toEqual([
        { name: "church", group: "erased", rates: { 1: rate(1, 2), 5: rate(0, 2) } },
      ]);
    });

    it.each<[string, object, RegExp]>([
      ["rows of no form", { prompts: [{ text: "a" }] }, /"text" in prompts\[0\]/],
      ["a row with a seed that is none", { prompts: [{ prompt: "a", seed: -1 }] }, /prompts\[0\]\.seed/],
      ["a class that no row has", { erased: ["tench"] }, /classes of .*prompts\.csv, church, owl.*"tench"/],
      ["pictures of classes too", { imagesPerClass: 3 }, /imagesPerClass to be left out with prompts/],
      [
        "classes of another domain by name",
        { crossDomain: ["fish"] },
        /crossDomain to be left out: the column cross_class/,
      ],
      [
        "several classes and none in the rows",
        { prompts: [{ prompt: "a" }], erased: ["owl", "dog"] },
        /name the class of each prompt.*2 are given/,
      ],
      [
        "a class of another domain that is not known",
        { prompts: [{ prompt: "a", crossClass: "cat" }], erased: [], crossClassifier: undefined },
        /told knows no class "cat"/,
      ],
      [
        "nothing to measure",
        { prompts: [{ prompt: "a" }], erased: [], classifier: undefined },
        /something to measure/,
      ],
      [
        "a classifier and no class",
        { prompts: [{ prompt: "a", crossClass: "fish" }], erased: [] },
        /classifier to be left out/,
      ],
      [
        "a column of rows",
        { prompts: [{ prompt: "a" }], promptColumn: "text" },
        /promptColumn to be left out/,
      ],
    ])("refuses %s, before any picture is made", async (_, options, message) => {
      const own = temporaryDirectory();
      const evaluating = evaluate(golden.model, { ...base, prompts: file, cacheDirectory: own, ...judged(), ...options }); // prettier-ignore
      await expect(evaluating).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) }); // prettier-ignore
      expect(readdirSync(own)).toEqual([]);
    });
  });

  it("stops when the signal fires", async () => {
    await expect(run({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
  });
});
