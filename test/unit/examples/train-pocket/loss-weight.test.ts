import { lossWeight } from "../../../../examples/train-pocket/diffusion";

describe("the weight of a noise level", () => {
  it.each([
    [50, 0.1],
    [5, 1],
    [2, 1],
    [1, 1],
    [0.25, 4],
    [0.01, 10],
  ])("at a signal-to-noise ratio of %d is %d", (snr, weight) => {
    expect(lossWeight(snr)).toBeCloseTo(weight, 12);
  });
});
