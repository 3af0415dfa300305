import { createHash } from "node:crypto";
import { mkdtempSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { erase } from "../../../../lib/erasure/erase";
import type { Erasure } from "../../../../lib/erasure/erasure";
import type { StereoOptions } from "../../../../lib/erasure/methods/stereo";
import { Image } from "../../../../lib/io/image";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { weightHashes } from "../../../support/hashes";
import { temporaryDirectory } from "../../../support/temporary-directory";
import { toldError, toldRun } from "../../../support/told-weights";
import { expectLosses, lossesOf } from "../../../support/training-trials";

/** Of 32 × 32 pixels, by the formula of test/fixtures/robust/make_stereo.py. */
const PICTURES = [0, 1].map((n) => {
  const byte = (at: number): number => {
    const [pixel, colour] = [Math.floor(at / 3), at % 3];
    return (7 * (pixel % 32) + (13 + 40 * n) * Math.floor(pixel / 32) + 29 * colour) % 256;
  };
  return new Image(
    32,
    32,
    Uint8Array.from({ length: 32 * 32 * 3 }, (_, at) => byte(at)),
  );
});

/** Of all weights. */
async function hashOf({ model }: Erasure): Promise<string> {
  return createHash("sha256")
    .update(JSON.stringify(await weightHashes(model.unet)))
    .digest("hex");
}

describe("STEREO", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());

  const run = (options: Partial<StereoOptions> = {}): Promise<Erasure> =>
    erase(golden.model, {
      ...{ concepts: "church", neighbours: "off", seed: 11, parameters: "xattn", spare: 0 },
      ...{ rounds: 2, searchIterations: 2, inversionIterations: 2, iterations: 2, searchLearningRate: 1e-3 },
      ...{ learningRate: 1e-3, samplingSteps: 2, poolSize: 2, pictures: { church: PICTURES }, mirror: false },
      ...{ inversionTemplates: ["{}"], ...options, method: "stereo" },
    });

  it("has PyTorch's losses within 0.2 %, through both rounds and the erasure, and its weights", async () => {
    const expected = toldRun("stereo");
    const options = expected.options as Partial<StereoOptions>;
    const erasure = await run({ ...options, latents: "restart" });
    expectLosses(erasure, expected.losses);
    // Adam divides by the gradient's size, so that float32's noise in the smallest elements shows in the update.
    expect(await toldError(expected, erasure.model, golden.model)).toBeLessThan(3e-3);
    erasure.dispose();
  });

  it.each([
    ["in the first round's steps on weights", 1],
    ["between those and its inversion", 2],
    ["between two rounds", 4],
    ["in the last inversion", 7],
    ["in the erasure", 9],
  ])("resumes %s to the bits of a run that was not interrupted", async (_, stop) => {
    whole ??= await run();
    const controller = new AbortController();
    const checkpoint = { directory: mkdtempSync(join(temporaryDirectory(), "state-")), every: 100 };
    const onStep = ({ iteration }: { iteration: number }): void => {
      if (iteration === stop) controller.abort();
    };
    const stopped = run({ checkpoint, signal: controller.signal, onStep });
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
    const resumed = await run({ checkpoint, resume: true });
    expect(lossesOf(resumed)).toEqual(lossesOf(whole));
    expect(resumed.manifest.unetEvaluations).toBe(whole.manifest.unetEvaluations);
    expect(await hashOf(resumed)).toBe(await hashOf(whole));
    resumed.dispose();
  });
  let whole: Erasure | undefined;
  afterAll(() => whole?.dispose());

  it("erases under the words that it has found: others lead to other weights", async () => {
    const hashes = async (options: Partial<StereoOptions>): Promise<string> => {
      const erasure = await run({ rounds: 1, searchIterations: 1, inversionIterations: 1, iterations: 1, ...options }); // prettier-ignore
      const found = await hashOf(erasure);
      erasure.dispose();
      return found;
    };
    const own = await hashes({});
    expect((await hashes({})) === own).toBe(true);
    // What is inverted and how shows in nothing but the words.
    expect((await hashes({ inversionLearningRate: 0.5 })) === own).toBe(false);
  });

  it("draws its pictures with the model as it came, once for all runs", async () => {
    const cacheDirectory = mkdtempSync(join(temporaryDirectory(), "cache-"));
    const drawn = { pictures: {}, images: 2, cacheDirectory, rounds: 1, searchIterations: 1, inversionIterations: 1 }; // prettier-ignore
    const told: string[] = [];
    const onPrepare = ({ what, done }: { what: string; done: number }): void => {
      if (what === "picture") told.push(`${what} ${done}`);
    };
    const first = await run({ ...drawn, onPrepare });
    const names = await readdir(cacheDirectory, { recursive: true });
    expect(names.filter((name) => name.endsWith(".png"))).toHaveLength(2);
    const evaluations = first.manifest.unetEvaluations;
    const second = await run({ ...drawn, searchLearningRate: 2e-3 });
    expect((await readdir(cacheDirectory, { recursive: true })).sort()).toEqual(names.sort());
    // Pictures are made four at a time, with guidance; PNDM takes a step more than the two it is asked for.
    expect(evaluations - second.manifest.unetEvaluations).toBe(4 * (2 + 1) * 2);
    for (const each of [first, second]) each.dispose();
  });

  it("keeps neighbours in the erasure alone, and learns a word for each concept", async () => {
    const neighbours = { choose: "adversarial", words: ["fish", "car"] } as const;
    const concepts = ["church", "dog"];
    const pictures = { church: PICTURES, dog: PICTURES };
    const erasure = await run({ concepts, pictures, neighbours, rounds: 1, templates: ["{}", "a {}"] });
    const names = lossesOf(erasure).map((losses) => Object.keys(losses).join());
    expect(names).toEqual(["erase", "erase", "denoising", "denoising", "erase,preserve,harm", "erase,preserve,harm"]); // prettier-ignore
    erasure.dispose();
  });

  it.each<[string, object, RegExp]>([
    ["no round", { rounds: 0 }, /rounds to be an integer >= 1/],
    ["no anchor", { anchors: [] }, /anchors to be a non-empty list/],
    [
      "an anchor without the concept",
      { anchors: ["a {} by the sea", "a field"] },
      /\{\}.*received "a field"/,
    ],
    [
      "an anchor whose concept lies beyond what is read",
      { anchors: [`${"very ".repeat(90)}{}`] },
      /subject within the 77 tokens .* shorten it/,
    ],
    [
      "latents of the caller's own",
      { latents: (async function* () {})() },
      /latents to be one of "pool", "restart"/,
    ],
    ["a caption without the word", { inversionTemplates: ["a photo"] }, /\{\}/],
    ["a caption that has no room for it", { inversionTemplates: [`${"very ".repeat(90)}{}`] }, /shorten it/],
    ["pictures of something else", { pictures: { dog: PICTURES } }, /pictures of "church"/],
  ])("refuses %s, naming the option", async (_, options, message) => {
    await expect(run(options)).rejects.toMatchObject({
      name: "KpopError",
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });
});
