import { existsSync } from "node:fs";
import { join } from "node:path";
import { train, type Stage } from "../../../../examples/train-pocket/training";
import { Random } from "../../../../lib/runtime/random";
import { Tensor } from "../../../../lib/runtime/tensor";
import { temporaryDirectory } from "../../../support/temporary-directory";

const STEPS = 260;

/** Fits three numbers to others, by gradients that are noisy in a seeded way; breaks off after `until` steps. */
function stage(weights: Tensor, more: Partial<Stage> & { until?: number } = {}): Stage {
  const wanted = Tensor.from([1, -2, 3], [3]);
  return {
    name: "fit",
    steps: STEPS,
    parameters: new Map([["weights", weights]]),
    learningRate: 0.05,
    warmup: 10,
    async loss(step) {
      if (step === more.until) throw new Error("interrupted");
      return weights
        .sub(wanted.add(new Random(1).at(step).normal([3]).mul(0.1)))
        .square()
        .mean();
    },
    ...more,
  };
}

describe("train", () => {
  beforeAll(() => jest.spyOn(console, "error").mockImplementation(() => {}));
  afterAll(() => jest.restoreAllMocks());

  it("ends an interrupted stage with the bits of one that was not interrupted", async () => {
    const [whole, broken, resumed] = [Tensor.zeros([3]), Tensor.zeros([3]), Tensor.zeros([3])];
    await train(stage(whole, { average: 0.9 }), temporaryDirectory());
    const directory = temporaryDirectory();
    await expect(train(stage(broken, { average: 0.9, until: 255 }), directory)).rejects.toThrow(
      "interrupted",
    );
    expect(existsSync(join(directory, "fit.state.safetensors"))).toBe(true);
    await train(stage(resumed, { average: 0.9 }), directory);
    expect([...(await resumed.data())]).toEqual([...(await whole.data())]);
    expect(
      (await whole
        .sub(Tensor.from([1, -2, 3], [3]))
        .abs()
        .amax(0)
        .item()) < 0.1,
    ).toBe(true);
  });

  it("leaves the averaged weights, and shows them to `look` alone", async () => {
    const weights = Tensor.zeros([3]);
    const seen: number[][] = [];
    const look = async (): Promise<void> => void seen.push([...(await weights.data())].map(Number));
    await train(stage(weights, { average: 0.99, look }), temporaryDirectory());
    expect(seen).toHaveLength(2);
    expect(seen.at(-1)).toEqual([...(await weights.data())].map(Number));
    const last = Tensor.zeros([3]);
    await train(stage(last), temporaryDirectory());
    expect([...(await last.data())]).not.toEqual([...(await weights.data())]);
  });

  it("stops where the loss is no number", async () => {
    const loss = async (): Promise<Tensor> => weights.sum().log();
    const weights = Tensor.from([-1, 0, 0], [3]);
    await expect(train(stage(weights, { loss }), temporaryDirectory())).rejects.toThrow(/step 0 is NaN/);
  });
});
