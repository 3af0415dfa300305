import { relativeUpdateError } from "../support/compare";
import { goldenKpop } from "../support/golden-kpop";
import { loadGolden, type GoldenModel } from "../support/golden-model";

describe.each(["small", "wide"] as const)("KPOP on golden checkpoint %s", (name) => {
  let reference: GoldenModel;
  beforeAll(async () => {
    reference = await loadGolden(name);
  });
  afterAll(() => reference.dispose());

  it("takes the reference's four iterations: losses, prompt and weights", async () => {
    const { model, expected } = reference;
    const before = new Map<string, Buffer>();
    for (const weight of model.unet.parameterNames()) {
      before.set(weight, Buffer.from(await model.unet.parameter(weight).bytes()));
    }

    const erasure = await goldenKpop(reference);

    const transfer = Array.from(await expected("kpop.loss.transfer").data(), Number);
    const removal = Array.from(await expected("kpop.loss.removal").data(), Number); // (4, 2): L1, L2
    // The transfer loss is the square of a small difference of predictions, so float32 leaves it three digits.
    erasure.history.forEach(({ losses }, i) => {
      expect(losses["transfer"]! / transfer[i]!).toBeCloseTo(1, 3);
      expect(losses["erase"]! / removal[2 * i]!).toBeCloseTo(1, 3);
      expect(losses["recover"]! / removal[2 * i + 1]!).toBeCloseTo(1, 3);
    });
    expect(erasure.history).toHaveLength(4);

    // In relative Frobenius norm of the update; float64 against float32 differ by 5e-5.
    const limit = 1e-3;
    const start = expected("kpop.prompt.init");
    expect(await relativeUpdateError(erasure.key!.prompt, expected("kpop.prompt.final"), start)).toBeLessThan(
      limit,
    );
    for (const key of reference.keys("kpop.unet.")) {
      const weight = key.slice("kpop.unet.".length);
      const changed = erasure.model.unet.parameter(weight);
      expect(await relativeUpdateError(changed, expected(key), model.unet.parameter(weight))).toBeLessThan(
        limit,
      );
    }
    // The model given is as it was.
    for (const [weight, values] of before) {
      expect(values.equals(await model.unet.parameter(weight).bytes())).toBe(true);
    }
    // A teacher for each of 2 predictions, the student for 3; the latents cost nothing here.
    expect(erasure.manifest.unetEvaluations).toBe(4 * 5);
    erasure.dispose();
  });
});
