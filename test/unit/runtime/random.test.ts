import { Random } from "../../../lib/runtime/random";
import type { Tensor } from "../../../lib/runtime/tensor";

const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);

describe("Random", () => {
  it("draws PyTorch's numbers for a seed", async () => {
    // torch.randn(4, generator=torch.Generator().manual_seed(42)) of torch 2.13.0
    const drawn = await numbers(new Random(42).normal([4]));
    const expected = [0.33669036626815796, 0.12880940735340118, 0.23446236550807953, 0.23033303022384644];
    drawn.forEach((value, index) => expect(value).toBeCloseTo(expected[index]!, 6));
  });

  it("draws standard normals: mean 0 and variance 1 within five standard errors of 40 000", async () => {
    const drawn = await numbers(new Random(9).at("noise").normal([200, 200]));
    const mean = drawn.reduce((a, b) => a + b) / drawn.length;
    const variance = drawn.reduce((sum, value) => sum + (value - mean) ** 2, 0) / drawn.length;
    expect(Math.abs(mean)).toBeLessThan(5 / 200);
    expect(Math.abs(variance - 1)).toBeLessThan((5 * Math.SQRT2) / 200);
  });

  it("gives the same draws for the same labels, and others for others", async () => {
    const draw = (...labels: (string | number)[]): Promise<number[]> =>
      numbers(new Random(7).at(...labels).normal([8]));
    const all = [
      await draw("noise", 3),
      await draw("noise", 4),
      await draw("timestep", 3),
      await draw("noise"),
      await draw("noise", 3, 0),
      await draw(3, "noise"),
      await numbers(new Random(8).at("noise", 3).normal([8])),
    ];
    expect(await draw("noise", 3)).toEqual(all[0]);
    expect(new Set(all.map((values) => values.join())).size).toBe(all.length);
    expect(await numbers(new Random(7).at("noise").at(3).normal([8]))).toEqual(all[0]);
  });

  it("does not depend on what was drawn before", () => {
    const random = new Random(5);
    const first = random.at("a").uniform();
    random.at("b").uniform();
    expect(random.at("a").uniform()).toBe(first);
  });

  it("spreads small integers evenly", () => {
    const counts = new Array<number>(10).fill(0);
    for (let i = 0; i < 20_000; i++) counts[new Random(1).at("t", i).below(10)]!++;
    for (const count of counts) expect(Math.abs(count - 2000)).toBeLessThan(250); // 5.9 standard deviations
  });

  it("gives uniform numbers from 0 up to 1, exclusive", () => {
    const drawn = Array.from({ length: 5000 }, (_, i) => new Random(2).at(i).uniform());
    expect(Math.min(...drawn)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...drawn)).toBeLessThan(1);
    const mean = drawn.reduce((a, b) => a + b) / drawn.length;
    expect(Math.abs(mean - 0.5)).toBeLessThan(5 * Math.sqrt(1 / 12 / drawn.length));
  });

  it("draws in the dtype asked for", async () => {
    const half = new Random(1).normal([4], { dtype: "bfloat16" });
    expect(half.dtype).toBe("bfloat16");
    const exact = await numbers(new Random(1).normal([4]));
    (await numbers(half)).forEach((value, i) => expect(Math.abs(value - exact[i]!)).toBeLessThan(0.01));
  });

  it("takes a seed of 64 bits as BigInt, and refuses seeds and labels that are none", () => {
    expect(new Random(2n ** 63n + 1n).uniform()).not.toBe(new Random(1).uniform());
    const refused = expect.objectContaining({ name: "KpopError", code: "INVALID_ARGUMENT" }) as Error;
    for (const seed of [-1, 0.5, NaN, 2 ** 60, "1"])
      expect(() => new Random(seed as number)).toThrow(refused);
    for (const label of [-1, 0.5]) expect(() => new Random(1).at(label)).toThrow(refused);
    for (const count of [0, -1, 1.5]) expect(() => new Random(1).below(count)).toThrow(refused);
  });
});
