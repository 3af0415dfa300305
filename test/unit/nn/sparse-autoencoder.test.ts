import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  above,
  activations,
  decode,
  encode,
  geometricMedian,
  largest,
  unitRows,
  type AutoencoderWeights,
} from "../../../lib/nn/sparse-autoencoder";
import { Random } from "../../../lib/runtime/random";
import { Tensor } from "../../../lib/runtime/tensor";
import { relativeError } from "../../support/compare";

interface Reference {
  settings: { width: number; latents: number; active: number };
  weights: Record<keyof AutoencoderWeights, number[]>;
  encoded: number[];
  decoded: number[];
  median: number[];
}
const reference = JSON.parse(
  readFileSync(join(__dirname, "../../fixtures/saeuron/reference.json"), "utf8"),
) as Reference;
const { width, latents, active } = reference.settings;
const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);
const draw = (seed: number, ...shape: number[]): Tensor => new Random(seed).normal(shape);

/** How many of each row are marked. */
const counts = (mask: Tensor): Promise<number[]> => numbers(mask.sum([-1]));

describe("the largest activations", () => {
  it.each([1, 7, 200, 999])(
    "are exactly k in each row, and those that sorting puts first: k = %i",
    async (k) => {
      const values = draw(3, 5, 2000).mul(2).exp(); // over 6 powers of ten
      const mask = largest(values, k, "rows");
      expect(await counts(mask)).toEqual(Array<number>(5).fill(k));
      const [kept, all] = [await numbers(values.mul(mask)), await numbers(values)];
      for (let row = 0; row < 5; row++) {
        const own = all.slice(2000 * row, 2000 * (row + 1));
        const least = [...own].sort((a, b) => b - a)[k - 1]!;
        expect(kept.slice(2000 * row, 2000 * (row + 1))).toEqual(own.map((v) => (v >= least ? v : 0)));
      }
    },
  );

  it("are k for each row on average where rows are looked at together, and not k in each", async () => {
    const values = draw(4, 6, 50)
      .relu()
      .mul(Tensor.from([1, 2, 3, 4, 5, 6], [6, 1]));
    const each = await counts(largest(values, 6 * 5, "all"));
    expect(each.reduce((a, b) => a + b, 0)).toBe(30);
    expect(new Set(each).size).toBeGreaterThan(1);
  });

  it("are all that are above 0 where there are fewer, and of equal ones at the edge all", async () => {
    const few = Tensor.from([0, 0.5, 0, 1e-12, 0], [1, 5]);
    expect(await numbers(largest(few, 4, "rows"))).toEqual([0, 1, 0, 1, 0]);
    expect(await numbers(largest(Tensor.zeros([1, 3]), 2, "rows"))).toEqual([0, 0, 0]);
    expect(await numbers(largest(Tensor.from([3, 2, 2, 1], [1, 4]), 2, "rows"))).toEqual([1, 1, 1, 0]);
  });

  it("are told from the next number that float32 has", async () => {
    const next = 1 + 2 ** -23;
    expect(await numbers(above(Tensor.from([1, next, 1 - 2 ** -24], [3]), 1))).toEqual([0, 1, 0]);
    expect(await numbers(largest(Tensor.from([1, next, 0.5, 300], [1, 4]), 2, "rows"))).toEqual([0, 1, 0, 1]);
  });
});

describe("a sparse autoencoder", () => {
  const shapes = { "encoder.weight": [latents, width], "encoder.bias": [latents], W_dec: [latents, width], b_dec: [width] } as const; // prettier-ignore
  const weights = Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => [
      name,
      Tensor.from(reference.weights[name as keyof AutoencoderWeights], shape),
    ]),
  ) as unknown as AutoencoderWeights;

  it("encodes and decodes as PyTorch does with torch.topk, within 1e-5", async () => {
    const z = encode(weights, draw(300, 5, width), active);
    expect(await relativeError(z, Tensor.from(reference.encoded, [5, latents]))).toBeLessThan(1e-5);
    const decoded = decode(weights, z);
    expect(await relativeError(decoded, Tensor.from(reference.decoded, [5, width]))).toBeLessThan(1e-5);
    expect((await numbers(activations(weights, draw(300, 5, width)))).every((value) => value >= 0)).toBe(
      true,
    );
  });

  it("has rows of norm 1 within float32's digits, those of zeros left alone", async () => {
    const rows = unitRows(Tensor.cat([draw(5, 20, 7).mul(30), Tensor.zeros([1, 7])]));
    const norms = await numbers(rows.square().sum([1]).sqrt());
    for (const norm of norms.slice(0, -1)) expect(Math.abs(norm - 1)).toBeLessThan(2e-7);
    expect(norms.at(-1)).toBe(0);
  });

  it("starts from the geometric median that a solver finds, within 1e-5, and not from the mean", async () => {
    const points = draw(400, 30, width);
    const expected = Tensor.from(reference.median, [width]);
    expect(await relativeError(geometricMedian(points), expected)).toBeLessThan(1e-5);
    expect(await relativeError(points.mean(0), expected)).toBeGreaterThan(1e-2);
  });
});
