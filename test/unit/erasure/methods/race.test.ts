import { erase } from "../../../../lib/erasure/erase";
import type { Erasure } from "../../../../lib/erasure/erasure";
import type { RaceOptions } from "../../../../lib/erasure/methods/race";
import type { MethodOptions } from "../../../../lib/erasure/registry";
import type { CustomLatents } from "../../../../lib/erasure/shared/custom-source";
import { PoolSource } from "../../../../lib/erasure/shared/pool-source";
import { Random } from "../../../../lib/runtime/random";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { tensorHash, weightHashes } from "../../../support/hashes";
import { toldError, toldRun } from "../../../support/told-weights";
import { customLatents, expectLosses, lossesOf } from "../../../support/training-trials";

/** `customLatents` with what their trajectories may have begun with. */
async function* withNoise(count: number): AsyncGenerator<CustomLatents> {
  let item = 0;
  for await (const given of customLatents(count))
    yield { ...given, noise: new Random(200 + item++).normal([4, 16, 16]) };
}

describe("RACE", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());

  const SHORT = {
    ...{ concepts: "church", neighbours: "off", seed: 11, iterations: 3, learningRate: 2e-4 },
    ...{ samplingSteps: 4, poolSize: 2, spare: 0 },
  } as const;
  const run = (options: Partial<RaceOptions> = {}): Promise<Erasure> =>
    erase(golden.model, { ...SHORT, plain: 0, ...options, method: "race" } as RaceOptions);
  const esd = (options: Partial<MethodOptions<"esd">> = {}): Promise<Erasure> =>
    erase(golden.model, { ...SHORT, ...options, method: "esd" } as MethodOptions<"esd">);

  it("has PyTorch's losses within 0.2 %, and weights, after one iteration of ESD and two with the search", async () => {
    const expected = toldRun("race");
    const erasure = await run({ ...(expected.options as Partial<RaceOptions>), latents: "restart" });
    expectLosses(erasure, expected.losses);
    // Adam divides by the gradient's size, so that float32's noise in the smallest elements shows in the update.
    expect(await toldError(expected, erasure.model, golden.model)).toBeLessThan(3e-3);
    erasure.dispose();
  });

  it("is ESD, bit for bit, where all iterations are plain", async () => {
    const [plain, other] = [await run({ plain: 1 }), await esd()];
    expect(lossesOf(plain)).toEqual(lossesOf(other));
    expect(await weightHashes(plain.model.unet)).toEqual(await weightHashes(other.model.unet));
    expect(plain.manifest.unetEvaluations).toBe(other.manifest.unetEvaluations);
    for (const each of [plain, other]) each.dispose();
  });

  it("trains as ESD, bit for bit, within a radius of zero, and otherwise within any other", async () => {
    const hashes = async (radius: number) => {
      const erasure = await run({ radius, attackSteps: 1, latents: withNoise(3) });
      const found = await weightHashes(erasure.model.unet);
      erasure.dispose();
      return found;
    };
    const other = await esd({ latents: customLatents(3) });
    expect(await hashes(0)).toEqual(await weightHashes(other.model.unet));
    expect(await hashes(0.1)).not.toEqual(await weightHashes(other.model.unet));
    other.dispose();
  });

  it("moves its trajectories by what the concept gives, not by what the search has found", async () => {
    const seen: string[] = [];
    const { next } = PoolSource.prototype;
    const spy = jest.spyOn(PoolSource.prototype, "next");
    spy.mockImplementation(async function (this: PoolSource, iteration) {
      const batch = await next.call(this, iteration);
      seen.push(await tensorHash(batch.latents));
      return batch;
    });
    // No weight moves, so that what is found is all that could lead them elsewhere.
    const visited = async (radius: number): Promise<string[]> => {
      const still = { learningRate: 0, iterations: 3, poolSize: 1, attackSteps: 1 };
      (await run({ ...still, radius, samplingSteps: 50 })).dispose();
      return seen.splice(0);
    };
    const far = await visited(5);
    expect(far).toEqual(await visited(0));
    expect(new Set(far).size).toBe(3);
    spy.mockRestore();
  });

  it("spends an evaluation for each step of the search, beside ESD's 3 on given latents", async () => {
    const erasure = await run({ attackSteps: 4, iterations: 2, plain: 0.5, latents: withNoise(2) });
    expect(erasure.manifest.unetEvaluations).toBe(3 + (3 + 4));
    erasure.dispose();
  });

  it("holds neighbours, adversarial ones too", async () => {
    const neighbours = { choose: "adversarial", words: ["fish", "car"] } as const;
    const erasure = await run({ neighbours, attackSteps: 1 });
    for (const losses of lossesOf(erasure))
      expect(Object.keys(losses)).toEqual(["attack", "erase", "preserve", "harm"]);
    erasure.dispose();
  });

  it.each<[string, object, RegExp]>([
    ["a negative radius", { radius: -0.1 }, /radius to be a finite number >= 0/],
    ["no steps", { attackSteps: 0 }, /attackSteps to be an integer >= 1/],
    ["steps of no length", { attackStep: 0 }, /attackStep to be a number > 0/],
    ["a share above one", { plain: 1.5 }, /plain to be a finite number from 0 to 1/],
    ["a negative weight", { lasso: -1 }, /lasso/],
  ])("refuses %s, naming the option", async (_, options, message) => {
    await expect(run(options)).rejects.toMatchObject({
      name: "KpopError",
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });

  it("refuses custom latents that do not come with their noise", async () => {
    const steps: number[] = [];
    const onStep = ({ iteration }: { iteration: number }): void => void steps.push(iteration);
    for (const plain of [0, 0.5])
      await expect(run({ latents: customLatents(3), plain, onStep })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(/custom latents to come with the noise/) as string,
      });
    expect(steps).toEqual([]);
    (await run({ latents: customLatents(3), plain: 1 })).dispose();
  });
});
