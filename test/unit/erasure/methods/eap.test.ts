import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { lossesOf, customLatent, customLatents, TIMESTEPS } from "../../../support/training-trials";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { expectEquations, logitsOf, runAdversary, type AdversaryVariant } from "../../../support/adversary-trials"; // prettier-ignore
import { temporaryDirectory } from "../../../support/temporary-directory";
import { weightHashes } from "../../../support/hashes";

describe("EAP", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small");
  });
  afterAll(() => golden.dispose());

  it.each<[string, AdversaryVariant]>([
    ["its defaults", {}],
    ["losses on noise, two latents an iteration", { options: { space: "noise" }, setting: { space: "noise" }, batchSize: 2 }], // prettier-ignore
    [
      "other weights, temperature and rate",
      {
        options: { negativeGuidance: 2.5, lambda: 3, temperature: 0.5, searchLearningRate: 0.01 },
        setting: { negativeGuidance: 2.5, lambda: 3, temperature: 0.5, searchLearningRate: 0.01 },
      },
    ],
    ["two concepts, each with words of its own", { options: { concepts: ["church", "dog"] }, batchSize: 2 }],
    [
      "trajectories from noise, towards the concept and towards its word",
      { options: { latents: "restart" } },
    ],
    ["prompts to preserve", { preserve: ["a fish", "a car"], options: { preserve: ["a fish", "a car"] } }],
  ])("with %s has its equations' losses within 0.2 %%, weights and logits", async (_, variant) => {
    await expectEquations(golden, "eap", variant, temporaryDirectory());
  });

  it("begins with 4 σ² times the mean square of what guidance is, and with no harm", async () => {
    const batch = { latents: customLatent(0).unsqueeze(0), timesteps: [TIMESTEPS[0]!] };
    const predict = async (text: string) => golden.model.predict(batch, await golden.model.condition([text]));
    const guidance = await (await predict("church")).mse(await predict("")).item();
    const erasure = await runAdversary(golden, "eap", { latents: customLatents(2) });
    const { erase, hold } = lossesOf(erasure)[0]!;
    const level = golden.model.schedule.alphasCumprod[981]!;
    expect(erase! / (4 * ((1 - level) / level) * guidance)).toBeCloseTo(1, 3);
    expect(hold).toBe(0);
    erasure.dispose();
  });

  it("does not search while no weight has moved, as nothing is harmed then", async () => {
    const directory = temporaryDirectory();
    const erasure = await runAdversary(golden, "eap", { learningRate: 0, latents: customLatents(2) }, directory); // prettier-ignore
    expect(await logitsOf(directory)).toEqual([0.25, 0.25, 0.25, 0.25]);
    expect(lossesOf(erasure).map(({ search }) => search)).toEqual([0, 0]);
    erasure.dispose();
  });

  it("moves weights by the one step and the search by the other, each without a bit of change to the other's", async () => {
    const weightsOf = async (options: object, directory?: string) => {
      const erasure = await runAdversary(golden, "eap", { ...options, latents: customLatents(2) }, directory);
      const weights = await weightHashes(erasure.model.unet);
      erasure.dispose();
      return weights;
    };
    const once = { iterations: 1, learningRate: 1e-2 };
    const [still, searching] = [temporaryDirectory(), temporaryDirectory()];
    const weights = await weightsOf({ ...once, searchLearningRate: 0 }, still);
    expect(weights).not.toEqual(await weightHashes(golden.model.unet));
    expect(await weightsOf({ ...once, searchLearningRate: 1 }, searching)).toEqual(weights);
    expect(await logitsOf(still)).toEqual([0.25, 0.25, 0.25, 0.25]);
    expect(await logitsOf(searching)).not.toEqual([0.25, 0.25, 0.25, 0.25]);
  });

  it("holds the word that it draws: another one is another loss, and other weights", async () => {
    const run = (word: string) =>
      runAdversary(golden, "eap", { vocabulary: [word], latents: customLatents(2) });
    const [castle, dog] = [await run("castle"), await run("dog")];
    const [first, second] = [castle, dog].map((erasure) => lossesOf(erasure)[1]!["hold"]!);
    expect(first).toBeGreaterThan(0);
    expect(Math.abs(first! / second! - 1)).toBeGreaterThan(1e-3);
    expect(await weightHashes(castle.model.unet)).not.toEqual(await weightHashes(dog.model.unet));
    for (const each of [castle, dog]) each.dispose();
  });

  it("takes its words from a file, one a line, to the bits that a list of them gives", async () => {
    const file = join(temporaryDirectory(), "words.txt");
    writeFileSync(file, "castle\n\n  temple \r\ndog\ntree\n");
    const [list, read] = [await runAdversary(golden, "eap"), await runAdversary(golden, "eap", { vocabulary: file })]; // prettier-ignore
    expect(await weightHashes(read.model.unet)).toEqual(await weightHashes(list.model.unet));
    for (const each of [list, read]) each.dispose();
  });

  it("holds neighbours beside its words, adversarial ones too", async () => {
    const neighbours = { choose: "adversarial", words: ["fish", "car"] } as const;
    const erasure = await runAdversary(golden, "eap", { neighbours });
    for (const losses of lossesOf(erasure))
      expect(Object.keys(losses)).toEqual(["erase", "hold", "preserve", "search", "harm"]);
    erasure.dispose();
  });

  it("spends 6 evaluations an iteration, and one for each of two pools", async () => {
    const spent = async (iterations: number): Promise<number> => {
      // No trajectory is at its end in these iterations, where moving on costs nothing.
      const erasure = await runAdversary(golden, "eap", { iterations, samplingSteps: 50, seed: 1 });
      erasure.dispose();
      return erasure.manifest.unetEvaluations;
    };
    expect((await spent(5)) - (await spent(2))).toBe(3 * 8);
  });

  it.each<[string, object, RegExp]>([
    ["a temperature of zero", { temperature: 0 }, /temperature to be a number > 0/],
    ["no candidates", { candidates: 0 }, /candidates to be an integer >= 1/],
    ["no words", { words: 0 }, /words to be an integer >= 1/],
    ["an unknown space", { space: "latent" }, /space to be one of "noise", "picture"/],
    ["a negative weight", { lambda: -1 }, /lambda/],
    ["a blank word", { vocabulary: ["dog", " "] }, /vocabulary to be a list of non-empty strings/],
    [
      "a vocabulary of the concept's own words",
      { concepts: "old church", vocabulary: ["church", "Churches", "old"] },
      /words in the vocabulary that are not the concepts' own but of 3 there are none/,
    ],
  ])("refuses %s, naming the option", async (_, options, message) => {
    await expect(runAdversary(golden, "eap", options)).rejects.toMatchObject({
      name: "KpopError",
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });

  it("says of a file of words that is not there what it is", async () => {
    const run = runAdversary(golden, "eap", { vocabulary: "no/such/words.txt" });
    await expect(run).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: "Cannot read the words from no/such/words.txt: it does not exist",
    });
  });
});
