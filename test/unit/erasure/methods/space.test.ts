import { erase } from "../../../../lib/erasure/erase";
import type { Erasure } from "../../../../lib/erasure/erasure";
import type { SpaceOptions } from "../../../../lib/erasure/methods/space";
import { trainedError } from "../../../support/compare";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { referenceSpace, type SpaceBatch, type SpaceSetting } from "../../../support/reference-space";
import {
  customLatent,
  customLatents,
  expectLosses,
  lossesOf,
  TIMESTEPS,
  trialBatches,
} from "../../../support/training-trials";

const SEED = 11;

describe("All but One", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());

  const run = (options: Partial<SpaceOptions> = {}): Promise<Erasure> =>
    erase(golden.model, {
      ...{ concepts: "church", neighbours: "off", seed: SEED, iterations: 3, learningRate: 2e-4 },
      ...{ samplingSteps: 6, poolSize: 2, spare: 0, ...options, method: "space" },
    });

  interface Variant {
    options: Partial<SpaceOptions>;
    setting?: Partial<SpaceSetting>;
    batchSize?: number;
    texts?: string[];
    alternatives?: string[];
    preserve?: string[];
  }

  // The drift begins as float32's noise, and Adam's first step is the sign of the gradient: where the gradient is smallest, it
  // is the sign of that noise. A weight above 1 would make that noise larger: the trial takes one below.
  it.each<[string, Variant]>([
    ["its defaults", { options: {} }],
    ["an alternative, two latents an iteration", { options: { alternative: "castle" }, alternatives: ["castle"], batchSize: 2 }], // prettier-ignore
    ["another weight of the drift", { options: { driftWeight: 0.2 }, setting: { driftWeight: 0.2 } }],
    [
      "an alternative to one of two concepts, in two templates",
      {
        options: {
          concepts: ["church", "dog"],
          target: ["castle", ""],
          templates: ["{}", "a photo of a {}"],
        },
        texts: ["church", "a photo of a church", "dog", "a photo of a dog"],
        alternatives: ["castle", "a photo of a castle", "", ""],
        batchSize: 2,
      },
    ],
    ["prompts to preserve", { options: { preserve: ["a dog", "a fish"] }, preserve: ["a dog", "a fish"] }],
  ])("with %s has the losses of its equation within 0.2 %%, and Adam's weights", async (_, variant) => {
    const { batchSize = 1, texts = ["church"], alternatives = [""], preserve = [] } = variant;
    const iterations = 2;
    const drawn = trialBatches(SEED, { iterations, batchSize, texts: texts.length, preserve });
    const batches = drawn.map((batch): SpaceBatch => ({
      ...batch,
      concepts: batch.texts.map((text) => texts[text]!),
      alternatives: batch.texts.map((text) => alternatives[text]!),
    }));
    const expected = await referenceSpace(golden.model, batches, {
      ...{ driftWeight: 1, learningRate: 2e-4, trained: (name) => name.includes("attn2") },
      ...variant.setting,
    });
    const latents = customLatents(iterations * batchSize);
    const erasure = await run({ iterations, batchSize, latents, ...variant.options });
    expectLosses(erasure, expected.losses);
    const error = await trainedError(erasure.model.unet, expected, golden.model.unet);
    expect(error).toBeLessThan(1e-3);
    erasure.dispose();
  });

  it("has nothing to do where the concept is its own alternative", async () => {
    const erasure = await run({ iterations: 1, alternative: "church", latents: customLatents(1) });
    expect(lossesOf(erasure)[0]!["erase"]).toBeLessThan(1e-12);
    expect(lossesOf(erasure)[0]!["drift"]).toBeLessThan(1e-12);
    erasure.dispose();
  });

  it("bounds how far the concept's prediction is from the alternative's: the sum of its terms is half of that or more", async () => {
    // Two updates; what the third reports is of the weights after them.
    const whole = await run({ alternative: "castle", latents: customLatents(3) });
    const before = await run({ alternative: "castle", latents: customLatents(2), iterations: 2 });
    const batch = { latents: customLatent(2).unsqueeze(0), timesteps: [TIMESTEPS[2]!] };
    const predicted = await before.model.predict(batch, await golden.model.condition(["church"]));
    const wanted = await golden.model.predict(batch, await golden.model.condition(["castle"]));
    const { erase: guidance, drift } = lossesOf(whole)[2]!;
    expect(drift).toBeGreaterThan(0);
    expect(guidance! + drift!).toBeGreaterThanOrEqual((await predicted.mse(wanted).item()) / 2);
    for (const each of [whole, before]) each.dispose();
  });

  it.each<[string, Partial<SpaceOptions>, number]>([
    ["3 and one to move the teacher's pool", {}, 4],
    ["4 and that one with an alternative", { alternative: "castle" }, 5],
    ["3 where the student's predictions move its pool", { sampledBy: "student" }, 3],
  ])("spends evaluations an iteration: %s", async (_, options, each) => {
    const spent = async (iterations: number): Promise<number> => {
      // No trajectory is at its end in these iterations, where moving on costs nothing.
      const erasure = await run({ ...options, iterations, samplingSteps: 50, seed: 1 });
      erasure.dispose();
      return erasure.manifest.unetEvaluations;
    };
    expect((await spent(5)) - (await spent(2))).toBe(3 * each);
  });

  it.each<[string, object, RegExp]>([
    ["a negative weight", { driftWeight: -1 }, /driftWeight to be a finite number >= 0/],
    ["an alternative that is no text", { alternative: 5 }, /alternative to be a string/],
    [
      "two alternatives to three concepts",
      { concepts: ["a", "b", "c"], alternative: ["d", "e"] },
      /alternative to be one value or 3/,
    ],
    [
      "an alternative that is not read to its end",
      { alternative: "very ".repeat(90) },
      /subject within the 77 tokens .* shorten it/,
    ],
    [
      "one of two that is not, in its template",
      {
        concepts: ["a", "b"],
        alternative: ["", "very ".repeat(70)],
        templates: ["{}", "a photo of a very big {}"],
      },
      /subject within the 77 tokens .* "a photo of a very big very .* shorten it/,
    ],
    ["both names of one option", { alternative: "a", target: "b" }, /names of one option/],
    ["an option of ESD", { negativeGuidance: 1 }, /"negativeGuidance" in the options of "space"/],
  ])("refuses %s, naming the option", async (_, options, message) => {
    await expect(run(options)).rejects.toMatchObject({
      name: "KpopError",
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });
});
