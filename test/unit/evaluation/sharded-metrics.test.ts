import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { PromptKey } from "../../../lib/diffusion/prompt-key";
import { ClipScorer } from "../../../lib/evaluation/clip-scorer";
import { evaluate, type ComparedModel, type Comparison } from "../../../lib/evaluation/evaluate";
import type { EvaluateOptions, EvaluationProgress } from "../../../lib/evaluation/evaluate-options";
import { without } from "../../../lib/files/json-file";
import { InceptionV3 } from "../../../lib/models/inception";
import { LPIPS } from "../../../lib/models/lpips";
import { Random } from "../../../lib/runtime/random";
import { evaluationFixture } from "../../support/evaluation";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { saveWeights } from "../../support/metric-files";
import { TINY_DETECTOR } from "../../support/nudenet";
import { discPicture } from "../../support/pictures";
import { temporaryDirectory } from "../../support/temporary-directory";

/** What shards of two models leave. */
const SHARED = ["evaluation.shards.2.json", "evaluation.shards.json", "images"];

describe("metrics of shards", () => {
  let golden: GoldenModel;
  let clip: ClipScorer;
  let models: ComparedModel[];
  let metrics: Pick<EvaluateOptions, "fid" | "cmmd" | "lpips" | "nudity">;
  beforeAll(async () => {
    // FID says that these are few pictures.
    jest.spyOn(process, "emitWarning").mockImplementation(() => undefined);
    golden = await loadGolden("small", { latents: 8 });
    clip = await ClipScorer.load(evaluationFixture("clip"));
    models = [
      { name: "before", model: golden.model },
      { name: "with a key", model: golden.model, key: keyOf(1) },
    ];
    const [folder, reference] = [temporaryDirectory(), temporaryDirectory()];
    for (const i of [0, 1, 2]) await discPicture(32, 32, 20 * i).save(join(reference, `${i}.png`));
    const inception = { beside: { "fc.weight": [1008, 2048] }, gain: 1.8 };
    metrics = {
      fid: {
        weights: await saveWeights(folder, "inception.safetensors", new InceptionV3(), inception),
        reference,
      },
      cmmd: { clip: evaluationFixture("clip") },
      lpips: { weights: await saveWeights(folder, "alex.safetensors", new LPIPS(), { gain: 1.4 }) },
      nudity: { detector: TINY_DETECTOR, thresholds: [0.3, 0.5] },
    };
  });
  afterAll(async () => {
    jest.restoreAllMocks();
    clip.dispose();
    await golden.dispose();
  });
  const keyOf = (seed: number) =>
    new PromptKey({ prompt: new Random(seed).normal([3, 32]), mechanism: "concat", layers: "all", concepts: ["church"] }); // prettier-ignore
  /** Three classes for the CLIP to tell apart, in a folder of their own. */
  const optionsIn = (folder: string): EvaluateOptions => ({
    ...{ erased: ["church"], preserved: ["dog", "owl"], imagesPerClass: 2, batchSize: 2, topK: [1] },
    ...{ steps: 2, guidanceScale: 2, width: 32, height: 32, clip, ...metrics },
    ...{ cacheDirectory: join(folder, "images"), resultFile: join(folder, "evaluation.json") },
  });
  /** All that was measured, and the pictures' bytes, but for where, when and by whom. */
  const measured = ({ models: found, differences }: Comparison) => ({
    differences,
    models: found.map((one) => ({
      ...without(one, "directory", "generated", "seconds"),
      pictures: one.pictures.map((picture) => ({
        ...without(picture, "path"),
        bytes: readFileSync(picture.path),
      })),
    })),
  });

  it("are those of one process, to the bit, once all models' pictures are made by two", async () => {
    const [alone, shared] = [temporaryDirectory(), temporaryDirectory()];
    const expected = await evaluate(models, optionsIn(alone));
    const seen: EvaluationProgress[] = [];
    const parts = [];
    for (const index of [1, 0])
      parts.push(
        await evaluate(models, {
          ...optionsIn(shared),
          shard: { index, count: 2 },
          onProgress: (progress) => seen.push(progress),
        }),
      );
    // Three batches of two for each model.
    expect(parts.map(({ images, generated }) => [images, generated])).toEqual([
      [4, 4],
      [8, 8],
    ]);
    expect(new Set(seen.map(({ phase }) => phase))).toEqual(new Set(["estimate", "images"]));
    expect(readdirSync(shared).sort()).toEqual(SHARED);
    const found = await evaluate(models, optionsIn(shared));
    expect(found.models.map(({ generated }) => generated)).toEqual([0, 0]);
    expect(measured(found)).toEqual(measured(expected));
    // Every metric said something of all pictures; with random heads a distance may be below 0.
    const { fid, cmmd, lpips, nudity } = found.models[1]!.metrics!;
    expect([fid, cmmd, lpips].map((one) => Math.abs(one!.all.value) > 0)).toEqual([true, true, true]);
    expect([fid!.all.pictures, cmmd!.all.pictures, lpips!.all.total]).toEqual([6, 6, 6]);
    expect(nudity!.ner["0.5"]!.total).toBe(6);
    expect(readdirSync(shared).sort()).toEqual(["evaluation.json", "images"]);
  });

  it("are refused before a shard draws, where the measuring call would refuse them", async () => {
    const folder = temporaryDirectory();
    const part = (options: object, given = models) =>
      evaluate(given, { ...optionsIn(folder), ...options, shard: { index: 0, count: 2 } });
    await expect(part({ cmmd: undefined }, models.slice(0, 1))).rejects.toThrow(
      /several models for lpips.*received one/,
    );
    await expect(part({ fid: { ...metrics.fid, reference: temporaryDirectory() } })).rejects.toThrow(/none among its 0/); // prettier-ignore
    await expect(part({ cmmd: { clip: join(folder, "none") } })).rejects.toMatchObject({ code: "NOT_FOUND" });
    expect(readdirSync(folder)).toEqual([]);
  });

  it("are of one key for each model: a shard of another is refused", async () => {
    const folder = temporaryDirectory();
    await evaluate(models, { ...optionsIn(folder), shard: { index: 0, count: 2 } });
    const others = [models[0]!, { ...models[1]!, key: keyOf(2) }];
    await expect(evaluate(others, optionsIn(folder))).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/evaluation\.shards\.2\.json is of shards with other options.*key\./),
    });
    expect(readdirSync(folder).sort()).toEqual(SHARED);
  });
});
