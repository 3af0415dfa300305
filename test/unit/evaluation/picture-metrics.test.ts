import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { evaluate } from "../../../lib/evaluation/evaluate";
import { ClipScorer } from "../../../lib/evaluation/clip-scorer";
import { frechetDistance, gaussianOf } from "../../../lib/evaluation/frechet";
import type { Measurement, MetricBatch, MetricJob, PictureGroup } from "../../../lib/evaluation/metric";
import { centreSquare, cmmd } from "../../../lib/evaluation/metrics/cmmd";
import { fid } from "../../../lib/evaluation/metrics/fid";
import { lpips } from "../../../lib/evaluation/metrics/lpips";
import type { Image } from "../../../lib/io/image";
import * as safetensors from "../../../lib/io/safetensors";
import { InceptionV3 } from "../../../lib/models/inception";
import { LPIPS } from "../../../lib/models/lpips";
import { Tensor } from "../../../lib/runtime/tensor";
import { relativeError } from "../../support/compare";
import { evaluationFixture, noisePicture } from "../../support/evaluation";
import { loadGolden } from "../../support/golden-model";
import { saveWeights } from "../../support/metric-files";
import { discPicture } from "../../support/pictures";
import { temporaryDirectory } from "../../support/temporary-directory";

/** What features of one picture differ by, by the layout of the weights and the size of the batch. */
const FLOAT32 = 2e-5;

const job = (models = 1): MetricJob => ({ device: "cpu", models, signal: undefined });
const batch = (images: readonly Image[], group: PictureGroup | null = null): MetricBatch => ({
  images,
  prompts: images.map(() => ""),
  groups: images.map(() => group),
  firsts: null,
});
const discs = (count: number, from = 0): Image[] =>
  Array.from({ length: count }, (_, i) => discPicture(40, 40, from + 7 * i));

async function folderOf(images: readonly Image[]): Promise<string> {
  const folder = temporaryDirectory();
  for (const [i, image] of images.entries()) await image.save(join(folder, `${i}.png`));
  writeFileSync(join(folder, "notes.json"), "{}");
  mkdirSync(join(folder, "more.png"));
  return folder;
}

/** What a metric says of one model's pictures. */
async function resultOf<R>(
  opened: { measure(first: null): Measurement<R, never>; dispose(): void },
  ...batches: readonly MetricBatch[]
): Promise<R | null> {
  const measurement = opened.measure(null);
  for (const each of batches) expect(await measurement.add(each, undefined)).toBeNull();
  const result = await measurement.result();
  measurement.dispose();
  opened.dispose();
  return result;
}

describe("cmmd", () => {
  const clip = evaluationFixture("clip");
  const options = (given: object) => ({ clip, reference: undefined, saveReference: undefined, ...given });

  /** The mean over pairs, by loops, of CLIP's own vectors. */
  async function byLoops(first: readonly Image[], second: readonly Image[]): Promise<number> {
    using scorer = await ClipScorer.load(clip);
    const vectors = async (images: readonly Image[]): Promise<number[][]> => {
      const flat = Array.from(await (await scorer.imageFeatures(images)).data(), Number);
      return images.map((_, i) => flat.slice(i * 12, (i + 1) * 12));
    };
    const [x, y] = [await vectors(first), await vectors(second)];
    const kernel = (a: number[][], b: number[][]): number => {
      const pairs = a.flatMap((one) =>
        b.map((other) => Math.exp(-one.reduce((sum, v, i) => sum + (v - other[i]!) ** 2, 0) / 200)),
      );
      return pairs.reduce((sum, value) => sum + value, 0) / pairs.length;
    };
    return 1000 * (kernel(x, x) + kernel(y, y) - 2 * kernel(x, y));
  }

  it("compares all pictures and each group with a folder of pictures", async () => {
    const [erased, preserved, reference] = [discs(3), [noisePicture(40, 40), ...discs(1, 90)], discs(4, 50)];
    const told: unknown[] = [];
    const folder = await folderOf(reference);
    const opened = await cmmd.open(options({ reference: folder }), {
      ...job(),
      onReference: async (progress) => void told.push(progress),
    });
    const result = await resultOf(opened, batch(erased, "erased"), batch(preserved, "preserved"));
    expect(result).toEqual({
      all: { value: expect.any(Number), pictures: 5, referencePictures: 4 },
      erased: { value: expect.any(Number), pictures: 3, referencePictures: 4 },
      preserved: { value: expect.any(Number), pictures: 2, referencePictures: 4 },
      reference: folder,
    });
    expect(result!.all.value).toBeCloseTo(await byLoops([...erased, ...preserved], reference), 6);
    expect(result!.erased!.value).toBeCloseTo(await byLoops(erased, reference), 6);
    expect(result!.preserved!.value).toBeCloseTo(await byLoops(preserved, reference), 6);
    expect(result!.preserved!.value).not.toBeCloseTo(result!.erased!.value, 3);
    expect(told).toEqual([{ done: 4, total: 4, etaSeconds: 0 }]);
    expect(cmmd.figures(result!)).toEqual([
      { name: "CMMD", value: result!.all.value, digits: 3 },
      { name: "CMMD, erased", value: result!.erased!.value, digits: 3 },
      { name: "CMMD, preserved", value: result!.preserved!.value, digits: 3 },
    ]);
  });

  it("saves what a reference comes to, and takes it in its place", async () => {
    const [folder, file] = [
      await folderOf(discs(4, 50)),
      join(temporaryDirectory(), "reference.safetensors"),
    ];
    const pictures = batch(discs(3));
    const first = await resultOf(
      await cmmd.open(options({ reference: folder, saveReference: file }), job()),
      pictures,
    );
    const again = await resultOf(await cmmd.open(options({ reference: file }), job()), pictures);
    expect(again).toEqual({ ...first, reference: file });
    // As another program may write it.
    await using saved = await safetensors.open(file);
    const plain = join(temporaryDirectory(), "plain.safetensors");
    await safetensors.save(plain, { embeddings: await saved.read("embeddings") });
    const unknown = await resultOf(await cmmd.open(options({ reference: plain }), job()), pictures);
    expect(unknown!.all).toEqual({ ...first!.all, referencePictures: null });
  });

  it("compares with the first model's pictures of the same group, where there is no reference", async () => {
    const opened = await cmmd.open(options({}), job(2));
    const first = opened.measure(null);
    await first.add(batch(discs(2), "erased"), undefined);
    await first.add(batch(discs(3, 60), "preserved"), undefined);
    expect(await first.result()).toBeNull();
    const next = opened.measure(first);
    await next.add(batch([noisePicture(40, 40)], "erased"), undefined);
    await next.add(batch(discs(3, 60), "preserved"), undefined);
    const result = await next.result();
    expect(result).toMatchObject({ reference: null, erased: { pictures: 1, referencePictures: 2 } });
    expect(result!.preserved!.value).toBeCloseTo(0, 9);
    expect(result!.erased!.value).toBeCloseTo(await byLoops([noisePicture(40, 40)], discs(2)), 6);
    first.dispose();
    next.dispose();
    opened.dispose();
  });

  it("cuts the square out of the middle of a picture first, as the reference implementation does", () => {
    const wide = noisePicture(7, 4);
    const square = centreSquare(wide);
    expect([square.width, square.height]).toEqual([4, 4]);
    const at = (image: Image, x: number, y: number) => image.data[(y * image.width + x) * 3];
    expect(at(square, 0, 0)).toBe(at(wide, 1, 0));
    expect(at(square, 3, 3)).toBe(at(wide, 4, 3));
    const high = noisePicture(3, 6);
    expect(at(centreSquare(high), 2, 0)).toBe(at(high, 2, 1));
    expect(centreSquare(square)).toBe(square);
  });

  it.each<[string, (folder: string) => Promise<object>, string, RegExp]>([
    ["nothing to compare with", async () => ({}), "INVALID_ARGUMENT", /cmmd\.reference to be a folder.*none/],
    [
      "a folder without pictures",
      async (reference) => ({ reference }),
      "INVALID_ARGUMENT",
      /none among its 0/,
    ],
    ["a reference that is not there", async () => ({ reference: "no-such" }), "NOT_FOUND", /no-such/],
    [
      "a file of something else",
      async (folder) => {
        const reference = join(folder, "other.safetensors");
        await safetensors.save(reference, { embeddings: Tensor.zeros([3, 5]) });
        return { reference };
      },
      "INVALID_CHECKPOINT",
      /embeddings of shape \[n, 12\].*received \[3, 5\]/,
    ],
    [
      "a file of another network",
      async (folder) => {
        const reference = join(folder, "other.safetensors");
        await safetensors.save(reference, { embeddings: Tensor.zeros([3, 12]) }, { "kpop.network": "ab" });
        return { reference };
      },
      "INVALID_CHECKPOINT",
      /made with another network/,
    ],
  ])("refuses %s", async (_, given, code, message) => {
    const opening = cmmd.open(options(await given(temporaryDirectory())), job());
    await expect(opening).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it("refuses options that do not go together, before anything is loaded", () => {
    expect(() => cmmd.check!(options({ clip: undefined }))).toThrow(/cmmd\.clip to be a non-empty string/);
    expect(() => cmmd.check!(options({ saveReference: "file" }))).toThrow(/cmmd\.reference to be given with/);
  });
});

describe("fid", () => {
  let weights: string;
  beforeAll(async () => {
    // The file as it is converted has the classifier too.
    const beside = { "fc.weight": [1008, 2048], "Mixed_5b.branch1x1.bn.num_batches_tracked": [1] };
    const name = "inception.safetensors";
    weights = await saveWeights(temporaryDirectory(), name, new InceptionV3(), { gain: 1.8, beside });
  });
  const options = (given: object) => ({ weights, reference: undefined, saveReference: undefined, ...given });

  it("compares with pictures of any sizes, and with a file of the statistics that numpy would give", async () => {
    const warn = jest.spyOn(process, "emitWarning").mockImplementation(() => undefined);
    const [own, others] = [discs(3), [discPicture(48, 40, 90), noisePicture(32, 32), discPicture(40, 48, 9)]];
    const file = join(temporaryDirectory(), "statistics.safetensors");
    const given = options({ reference: await folderOf(others), saveReference: file });
    const found = await resultOf(await fid.open(given, job()), batch(own, "erased"));
    expect(found!.all).toMatchObject({ pictures: 3, referencePictures: 3 });
    expect(found!.erased).toEqual(found!.all);
    expect(found!.preserved).toBeUndefined();

    const features = await featuresOf([...own, ...others]);
    const expected = frechetDistance(gaussianOf(features.slice(0, 0, 3)), gaussianOf(features.slice(0, 3)));
    expect(Math.abs(found!.all.value / (await expected) - 1)).toBeLessThan(FLOAT32);

    const saved = await safetensors.load(file);
    for (const [key, plain] of Object.entries(await statisticsOf(features.slice(0, 3))))
      expect(await relativeError(saved.get(key)!, plain)).toBeLessThan(FLOAT32);
    const again = await resultOf(await fid.open(options({ reference: file }), job()), batch(own));
    expect(again!.all).toMatchObject({ pictures: 3, referencePictures: 3 });
    expect(Math.abs(again!.all.value / found!.all.value - 1)).toBeLessThan(1e-6);
    const few = /^fid of 3 pictures against 3 others: with fewer than 2048 /;
    const code = "KPOP_FEW_PICTURES";
    expect(warn.mock.calls).toEqual(Array(2).fill([expect.stringMatching(few), { code }]));
    warn.mockRestore();
  });

  it("refuses one picture, on either side", async () => {
    const reference = await folderOf(discs(1));
    await expect(fid.open(options({ reference }), job())).rejects.toThrow(
      /at least 2 pictures for fid.* are 1$/,
    );
    const opened = await fid.open(options({ reference: await folderOf(discs(2)) }), job());
    await expect(resultOf(opened, batch(discs(1)))).rejects.toThrow(/at least 2 pictures for fid.* are 1$/);
  });

  it("refuses torchvision's network, which has the same keys, and other layouts", async () => {
    const reference = await folderOf(discs(2));
    const opening = async (tensors: Record<string, number[]>) => {
      const file = join(temporaryDirectory(), "weights.safetensors");
      await safetensors.save(
        file,
        Object.fromEntries(Object.entries(tensors).map(([key, shape]) => [key, Tensor.zeros(shape)])),
      );
      return fid.open(options({ weights: file, reference }), job());
    };
    await expect(opening({ "fc.weight": [1000, 2048] })).rejects.toMatchObject({
      code: "UNSUPPORTED_MODEL",
      message: expect.stringMatching(/of 1008 outputs, but received one of 1000, as torchvision's/),
    });
    await expect(opening({ "blocks.0.0.conv.weight": [32, 3, 3, 3] })).rejects.toMatchObject({
      code: "INVALID_CHECKPOINT",
      message: expect.stringMatching(
        /tensors missing: Conv2d_1a_3x3.*unexpected: blocks.*docs\/measures\.md/,
      ),
    });
  });

  /** By the network itself, each picture alone: (n, 2048) float64. */
  async function featuresOf(images: readonly Image[]): Promise<Tensor> {
    const network = new InceptionV3();
    await network.assign(
      await safetensors.load(weights).then((tensors) => pick(tensors, network.parameterNames())),
    );
    const features = [];
    for (const { width, height, data } of images) {
      const pixels = Tensor.from(data, [1, height, width, 3]).permute([0, 3, 1, 2]).to("float32").div(255);
      features.push(await network.forward(pixels));
    }
    network.dispose();
    return Tensor.cat(features).to("float64");
  }

  /** As numpy gives them: the mean, and the covariance over n - 1. */
  async function statisticsOf(features: Tensor): Promise<{ mu: Tensor; sigma: Tensor }> {
    const [n, d] = features.shape as [number, number];
    const rows = Array.from(await features.data(), Number);
    const mu = Array.from(
      { length: d },
      (_, j) => rows.reduce((sum, x, i) => sum + (i % d === j ? x : 0), 0) / n,
    );
    const sigma = new Float64Array(d * d);
    for (let a = 0; a < d; a++)
      for (let b = 0; b < d; b++)
        for (let i = 0; i < n; i++)
          sigma[a * d + b]! += ((rows[i * d + a]! - mu[a]!) * (rows[i * d + b]! - mu[b]!)) / (n - 1);
    return { mu: Tensor.from(Float64Array.from(mu), [d]), sigma: Tensor.from(sigma, [d, d]) };
  }
});

describe("lpips", () => {
  let weights: string;
  beforeAll(async () => {
    // The package's own names, among them the list of heads, which are there already.
    const beside = { "lins.0.model.1.weight": [1, 64, 1, 1] };
    weights = await saveWeights(temporaryDirectory(), "alex.safetensors", new LPIPS(), { gain: 1.4, beside });
  });

  it("gives each picture its distance from the first model's, and means with intervals by group", async () => {
    const opened = await lpips.open({ weights }, job(2));
    const first = opened.measure(null);
    expect(await first.add(batch(discs(3)), undefined)).toBeNull();
    expect(await first.result()).toBeNull();
    const second = opened.measure(first);
    const [firsts, images] = [discs(3), [...discs(1), noisePicture(40, 40), discPicture(40, 40, 60)]];
    const groups = ["preserved", "erased", "erased"] as const;
    const notes = (await second.add({ ...batch(images), firsts, groups }, undefined))!;
    expect(notes[0]).toBe(0);

    using network = new LPIPS();
    await network.assign(pick(await safetensors.load(weights), network.parameterNames()));
    const pixels = ({ width, height, data }: Image) =>
      Tensor.from(
        Float32Array.from(data, (byte) => byte / 127.5 - 1),
        [1, height, width, 3],
      ).permute([0, 3, 1, 2]);
    const alone = await (await network.forward(pixels(images[1]!), pixels(firsts[1]!))).item();
    expect(Math.abs(notes[1]! / alone - 1)).toBeLessThan(1e-5);

    const result = (await second.result())!;
    expect(result.preserved).toMatchObject({ value: 0, total: 1 });
    expect(result.erased).toMatchObject({ value: (notes[1]! + notes[2]!) / 2, total: 2 });
    expect(result.all.value).toBeCloseTo((notes[1]! + notes[2]!) / 3, 12);
    expect(lpips.figures(result).map(({ name }) => name)).toEqual([
      "LPIPS",
      "LPIPS, erased",
      "LPIPS, preserved",
    ]);
    const other = { ...batch([noisePicture(48, 40)]), firsts: discs(1) };
    await expect(second.add(other, undefined)).rejects.toThrow(
      /one size for lpips.*40 × 40 and another 48 × 40/,
    );
    opened.dispose();
  });

  it("is measured by evaluate of all models but the first, as sets are without a reference", async () => {
    const golden = await loadGolden("small", { latents: 8 });
    const clip = evaluationFixture("clip");
    const found = await evaluate([golden.model, { name: "again", model: golden.model }], {
      prompts: [{ prompt: "a b" }, { prompt: "c d" }],
      steps: 2,
      width: 32,
      height: 32,
      cacheDirectory: temporaryDirectory(),
      lpips: { weights },
      cmmd: { clip },
    });
    expect(found.models[0]!.metrics).toBeUndefined();
    const sha256 = expect.stringMatching(/^[0-9a-f]{64}$/);
    expect(found.models[1]!.metrics).toEqual({
      lpips: { all: { value: 0, low: 0, high: 0, total: 2 }, judge: { origin: weights, sha256 } },
      cmmd: {
        all: { value: expect.closeTo(0, 9), pictures: 2, referencePictures: 2 },
        reference: null,
        judge: { origin: clip, sha256 },
      },
    });
    expect(found.models.map(({ pictures }) => pictures[0]!.metrics)).toEqual([undefined, { lpips: 0 }]);
    await golden.dispose();
  });

  it("refuses one model, and weights of another layout", async () => {
    await expect(lpips.open({ weights }, job())).rejects.toThrow(/several models for lpips.*original first/);
    const file = join(temporaryDirectory(), "vgg.safetensors");
    await safetensors.save(file, { "net.slice1.0.weight": Tensor.zeros([64, 3, 3, 3]) });
    await expect(lpips.open({ weights: file }, job(2))).rejects.toMatchObject({
      code: "INVALID_CHECKPOINT",
      // The trunk is known by its first convolution.
      message: expect.stringMatching(/tensors missing: .*docs\/measures\.md says how the file of lpips/),
    });
    expect(() => lpips.check!({ weights: undefined })).toThrow(/lpips\.weights to be a non-empty string/);
  });
});

function pick(tensors: Map<string, Tensor>, names: readonly string[]): Map<string, Tensor> {
  return new Map(names.map((name) => [name, tensors.get(name)!]));
}
