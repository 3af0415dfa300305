import { ErasureJob } from "../../../../lib/erasure/job";
import { expectEquations, logitsOf, runAdversary, type AdversaryVariant } from "../../../support/adversary-trials"; // prettier-ignore
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { temporaryDirectory } from "../../../support/temporary-directory";
import { customLatent, customLatents, lossesOf } from "../../../support/training-trials";

describe("AGE", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small");
  });
  afterAll(() => golden.dispose());

  it.each<[string, AdversaryVariant]>([
    ["its defaults", {}],
    [
      "a search of the released script's, two latents an iteration",
      { options: { ascends: "hold" }, setting: { ascends: "hold" }, batchSize: 2 },
    ],
    [
      "mixtures of two words, as for artists",
      { options: { mixture: 2, temperature: 2 }, setting: { mixture: 2, temperature: 2 } },
    ],
    [
      "losses on noise, other weights",
      {
        options: { space: "noise", negativeGuidance: 0, lambda: 5 },
        setting: { space: "noise", negativeGuidance: 0, lambda: 5 },
      },
    ],
    [
      "two concepts, each with words of its own",
      {
        options: { concepts: ["church", "dog"], temperature: 1 },
        setting: { temperature: 1 },
        batchSize: 2,
      },
    ],
    [
      "trajectories from noise, towards the concept and towards its word",
      { options: { latents: "restart" } },
    ],
  ])("with %s has its equations' losses within 0.2 %%, weights and logits", async (_, variant) => {
    await expectEquations(golden, "age", variant, temporaryDirectory());
  });

  it.each<["both" | "hold", boolean]>([
    ["both", true],
    ["hold", false],
  ])("searching up %s, the target %s pulls where no weight has moved", async (ascends, moves) => {
    const directory = temporaryDirectory();
    const latents = customLatents(2);
    const erasure = await runAdversary(golden, "age", { ascends, learningRate: 0, latents }, directory);
    const logits = await logitsOf(directory);
    expect(logits.some((logit) => Math.abs(logit - 0.25) > 1e-3)).toBe(moves);
    expect(lossesOf(erasure)[0]!["search"]! > 0).toBe(moves);
    erasure.dispose();
  });

  it("turns the concept into one word where there is one", async () => {
    const options = { vocabulary: ["castle"], negativeGuidance: 0, iterations: 1, latents: customLatents(1) };
    const fixed = await runAdversary(golden, "age", options);
    const texts = await golden.model.condition(["church", "castle"]);
    const twice = customLatent(0).unsqueeze(0).expand([2, 4, 16, 16]);
    const both = await golden.model.predict({ latents: twice, timesteps: 981 }, texts);
    const distance = await both
      .slice(0, 0, 1)
      .mse(both.slice(0, 1, 2))
      .item();
    const level = golden.model.schedule.alphasCumprod[981]!;
    expect(lossesOf(fixed)[0]!["erase"]! / (((1 - level) / level) * distance)).toBeCloseTo(1, 3);
    fixed.dispose();
  });

  /** The first loss of a run on one word, which is encoded as another text is. */
  async function firstLoss(method: "eap" | "age", encodedAs: string): Promise<number> {
    const encode = jest.spyOn(ErasureJob.prototype, "encode").mockImplementation(function (
      this: ErasureJob,
      prompts,
    ) {
      return this.base.condition(prompts.map((prompt) => (prompt === "castle" ? encodedAs : prompt)));
    });
    const options = { vocabulary: ["castle"], iterations: 1, negativeGuidance: 2, latents: customLatents(1) };
    const erasure = await runAdversary(golden, method, options);
    encode.mockRestore();
    erasure.dispose();
    return lossesOf(erasure)[0]!["erase"]!;
  }

  it("erases as EAP does where its target is the empty text, and nothing where it is the concept itself", async () => {
    const empty = await firstLoss("age", "");
    expect(empty / (await firstLoss("eap", ""))).toBeCloseTo(1, 5);
    expect(empty).toBeGreaterThan(0);
    expect(await firstLoss("age", "church")).toBeLessThan(1e-9 * empty);
  });

  it.each([
    ["8 where the search goes up both losses", "both", 10],
    ["6 where it goes up one", "hold", 8],
  ] as const)(
    "spends evaluations an iteration, and one for each of two pools: %s",
    async (_, ascends, each) => {
      const spent = async (iterations: number): Promise<number> => {
        // No trajectory is at its end in these iterations, where moving on costs nothing.
        const erasure = await runAdversary(golden, "age", {
          ascends,
          iterations,
          samplingSteps: 50,
          seed: 1,
        });
        erasure.dispose();
        return erasure.manifest.unetEvaluations;
      };
      expect((await spent(5)) - (await spent(2))).toBe(3 * each);
    },
  );

  it.each<[string, object, RegExp]>([
    ["a mixture of nothing", { mixture: 0 }, /mixture to be an integer >= 1/],
    ["another search", { ascends: "erase" }, /ascends to be one of "both", "hold"/],
    ["an option of SDD", { momentum: 0.5 }, /"momentum" in the options of "age"/],
  ])("refuses %s, naming the option", async (_, options, message) => {
    await expect(runAdversary(golden, "age", options)).rejects.toMatchObject({
      name: "KpopError",
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });
});
