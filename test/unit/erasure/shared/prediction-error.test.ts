import { NoiseSchedule } from "../../../../lib/diffusion/noise-schedule";
import { errorIn, predictionError } from "../../../../lib/erasure/shared/prediction-error";
import { Random } from "../../../../lib/runtime/random";
import type { Tensor } from "../../../../lib/runtime/tensor";

const schedule = new NoiseSchedule();
const timesteps = [3, 700];
const tensor = (label: string): Tensor => new Random(1).at(label).normal([2, 4, 2, 2]);

describe("predictionError", () => {
  it("is the mean square between predictions of noise", async () => {
    const error = predictionError(tensor("a"), tensor("b"), { space: "noise", schedule, timesteps });
    const expected = await tensor("a").sub(tensor("b")).square().mean().item();
    expect(await error.item()).toBeCloseTo(expected, 6);
  });

  it("is that between the pictures which follow from them, whatever z_t they are for", async () => {
    const error = predictionError(tensor("a"), tensor("b"), { space: "picture", schedule, timesteps });
    const values = async (label: string) => Array.from(await tensor(label).data(), Number);
    const [z, a, b] = [await values("z"), await values("a"), await values("b")];
    const squares = z.map((noisy, at) => {
      const alpha = schedule.alphaCumprod(timesteps[Math.floor(at / 16)]!);
      const picture = (noise: number): number => (noisy - Math.sqrt(1 - alpha) * noise) / Math.sqrt(alpha);
      return (picture(a[at]!) - picture(b[at]!)) ** 2;
    });
    const expected = squares.reduce((sum, square) => sum + square) / squares.length;
    expect((await error.item()) / expected).toBeCloseTo(1, 5);
  });

  it("is measured at the levels that a batch names, else at its timesteps", async () => {
    const error = errorIn("picture", schedule);
    const at = (levels: readonly number[]) =>
      predictionError(tensor("a"), tensor("b"), { space: "picture", schedule, timesteps: levels }).item();
    expect(await error(tensor("a"), tensor("b"), { timesteps }).item()).toBe(await at(timesteps));
    const named = error(tensor("a"), tensor("b"), { timesteps, levels: [1, 681] });
    expect(await named.item()).toBe(await at([1, 681]));
  });
});
