import { NoiseSchedule } from "../../../lib/diffusion/noise-schedule";
import { addNoise, noisyLatents } from "../../../lib/diffusion/noisy-latents";
import { Random } from "../../../lib/runtime/random";
import { Tensor } from "../../../lib/runtime/tensor";

const schedule = new NoiseSchedule();

describe("noisyLatents", () => {
  it("is √ᾱ z + √(1−ᾱ) n for each item's own t", async () => {
    const clean = Tensor.from([1, 2, 3, 4], [2, 2, 1, 1], { dtype: "float64" });
    const noise = Tensor.from([0.5, -1, 2, 0], [2, 2, 1, 1], { dtype: "float64" });
    const z = Array.from(await addNoise(schedule, clean, noise, [10, 900]).data(), Number);
    const [a, b] = [schedule.alphaCumprod(10), schedule.alphaCumprod(900)];
    [
      Math.sqrt(a) + 0.5 * Math.sqrt(1 - a),
      2 * Math.sqrt(a) - Math.sqrt(1 - a),
      3 * Math.sqrt(b) + 2 * Math.sqrt(1 - b),
      4 * Math.sqrt(b),
    ].forEach((value, i) => expect(z[i]).toBeCloseTo(value, 6));
  });

  it("draws each item's t and noise by its place, uniform over the schedule", async () => {
    const clean = Tensor.zeros([400, 1, 1, 1]);
    const { timesteps, noise } = noisyLatents(schedule, clean, new Random(1));
    const mean = timesteps.reduce((sum, t) => sum + t / 400, 0);
    expect(Math.abs(mean - 499.5)).toBeLessThan(4 * (1000 / Math.sqrt(12 * 400)));
    expect(Math.min(...timesteps)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...timesteps)).toBeLessThan(1000);
    const few = noisyLatents(schedule, clean.slice(0, 0, 3), new Random(1));
    expect(few.timesteps).toEqual(timesteps.slice(0, 3));
    expect(Array.from(await few.noise.data(), Number)).toEqual(
      Array.from(await noise.slice(0, 0, 3).data(), Number),
    );
  });
});
