import type { Image } from "../../../lib/io/image";
import { tokenEmbeddings } from "../../../lib/inversion/concept-embedding";
import type { Inversion } from "../../../lib/inversion/inversion";
import { invert, type InvertOptions } from "../../../lib/inversion/invert";
import { Random } from "../../../lib/runtime/random";
import { Tensor } from "../../../lib/runtime/tensor";
import { weightHashes, tensorHash } from "../../support/hashes";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { discPicture } from "../../support/pictures";
import { temporaryDirectory } from "../../support/temporary-directory";

describe("invert", () => {
  let golden: GoldenModel;
  let images: Image[];
  let width: number;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
    width = golden.model.textEncoder.config.hidden_size;
    images = [0, 30].map((seed) => discPicture(golden.model.imageSize, golden.model.imageSize, seed));
  });
  afterAll(() => golden.dispose());

  const run = (options: Partial<InvertOptions> = {}): Promise<Inversion> =>
    invert(golden.model, { images, iterations: 2, batchSize: 1, seed: 3, ...options });
  const bits = async (options: Partial<InvertOptions> = {}): Promise<string> =>
    tensorHash((await run(options)).embeddings);

  it("starts at the mean of the initial text's tokens, in every vector", async () => {
    const { embeddings } = await run({ learningRate: 0, vectors: 3, initial: "a photo" });
    const own = await tokenEmbeddings(golden.model, "initial", "a photo");
    const mean = Array.from(await own.mean(0).data(), Number);
    expect(Array.from(await embeddings.data(), Number)).toEqual([...mean, ...mean, ...mean]);
  });

  it("moves every element by the learning rate in Adam's first step, and nothing else in the model", async () => {
    const initial = new Random(1).normal([2, width]).mul(0.1);
    const before = await weightHashes(golden.model.unet);
    const { embeddings } = await run({ initial, vectors: 2, iterations: 1, learningRate: 1e-2 });
    for (const moved of await embeddings.sub(initial).abs().data())
      expect(Number(moved)).toBeCloseTo(1e-2, 4);
    expect(await weightHashes(golden.model.unet)).toEqual(before);
  });

  it("learns: on the same draws, the loss ends below that of embeddings that stay", async () => {
    const initial = new Random(1).normal([1, width]).mul(0.1);
    const last = async (learningRate: number): Promise<number> => {
      const { history } = await run({ initial, iterations: 40, learningRate });
      return history.slice(20).reduce((sum, { losses }) => sum + losses["denoising"]! / 20, 0);
    };
    expect(await last(5e-2)).toBeLessThan((await last(0)) - 1e-3);
  });

  it("gives the same bits for the same seed, others for another seed, and others without mirror images", async () => {
    const first = await bits();
    expect(await bits()).toBe(first);
    expect(await bits({ seed: 4 })).not.toBe(first);
    expect(await bits({ mirror: false })).not.toBe(first);
  });

  it("resumes to the bits of a run that was not interrupted, and refuses the state of another", async () => {
    const checkpoint = { directory: temporaryDirectory(), every: 1 };
    const controller = new AbortController();
    const onStep = (): void => controller.abort();
    await expect(run({ checkpoint, iterations: 3, onStep, signal: controller.signal })).rejects.toMatchObject(
      {
        code: "ABORTED",
      },
    );
    const resumed = await run({ checkpoint, iterations: 3, resume: true });
    expect(resumed.history.map(({ iteration }) => iteration)).toEqual([1, 2, 3]);
    expect(await tensorHash(resumed.embeddings)).toBe(await bits({ iterations: 3 }));
    const other = run({ checkpoint, iterations: 3, resume: true, images: images.slice(1) });
    await expect(other).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("says which pictures were of another size", async () => {
    const side = golden.model.imageSize;
    const { record } = await run({
      images: [images[0]!, discPicture(side * 2, side + 3), images[1]!, discPicture(side, side - 1)],
    });
    expect(record).toMatchObject({ images: 4, resized: [1, 3], iterations: 2, seed: 3, unetEvaluations: 2 });
    expect(Object.keys(record!.inputs).length).toBeGreaterThan(2);
  });

  it.each<[string, object, RegExp]>([
    ["no pictures", { images: [] }, /images to be a non-empty list/],
    ["pictures that are none", { images: [5] }, /images/],
    ["a token of the vocabulary", { token: "church" }, /"church" is in the vocabulary already/],
    ["a token with white space", { token: "a b" }, /white space/],
    ["templates without a place", { templates: ["a photo"] }, /template/],
    [
      "a template without room for the vectors",
      { vectors: 70, templates: [`${"a ".repeat(20)}{}`] },
      /shorten it/,
    ],
    ["no vectors", { vectors: 0 }, /vectors/],
    ["more vectors than places", { vectors: 76 }, /vectors/],
    ["no iterations", { iterations: 0 }, /iterations/],
    ["a negative rate", { learningRate: -1 }, /learningRate/],
    ["a blank text to start from", { initial: " " }, /initial/],
    ["a start of another shape", { initial: Tensor.zeros([1, 5]) }, /initial to be of shape \(1, 32\)/],
    ["an option of the diverse form", { concept: "church" }, /"concept"/],
  ])("refuses %s, naming the option", async (_, options, message) => {
    await expect(run(options)).rejects.toMatchObject({
      name: "KpopError",
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });
});
