import { readFileSync } from "node:fs";
import { join } from "node:path";
import { frechetDistance, gaussianOf } from "../../lib/evaluation/frechet";
import { meanDiscrepancy } from "../../lib/evaluation/mmd";
import * as safetensors from "../../lib/io/safetensors";
import { InceptionV3 } from "../../lib/models/inception";
import { LPIPS } from "../../lib/models/lpips";
import { Random } from "../../lib/runtime/random";
import { Tensor } from "../../lib/runtime/tensor";
import { relativeError } from "../support/compare";
import { scaledWeights } from "../support/metric-files";

// The references are the packages pytorch-fid, lpips and clip-mmd: test/fixtures/metrics/make.py.
const fixture = (name: string) => join(__dirname, "..", "fixtures", "metrics", name);
const read = <T>(name: string): T => JSON.parse(readFileSync(fixture(name), "utf8")) as T;

/** In [0, 1], as the fixtures' script draws them. */
const pictures = (seed: number, image: readonly number[]): Tensor =>
  new Random(seed)
    .normal([2, 3, ...image])
    .mul(0.25)
    .add(0.5)
    .clamp(0, 1);

describe("FID's Inception network, against pytorch-fid's with random weights", () => {
  const reference = read<{
    gain: number;
    shapes: Record<string, number[]>;
    cases: { image: [number, number]; features: number[] }[];
  }>("inception.json");
  let network: InceptionV3;
  beforeAll(async () => {
    network = new InceptionV3();
    await network.assign(scaledWeights(network.parameterShapes(), reference.gain));
    await network.useFastestLayout();
  });
  afterAll(() => network.dispose());

  it("has torchvision's keys and shapes, in its order", () => {
    expect(Object.entries(network.parameterShapes())).toEqual(Object.entries(reference.shapes));
  });

  // Of pictures that are scaled up, and of pictures that are scaled down. Antialiasing, pools that count their padding, a
  // mean in the last block, aligned corners and another ε each come to 4e-3 or more.
  it.each(reference.cases)("gives its features of pictures of $image, within 2e-5", async (expected) => {
    const features = await network.forward(pictures(2000, expected.image));
    expect(features.shape).toEqual([2, 2048]);
    const sampled = features.slice(1, 0, 2048, 4);
    expect(await relativeError(sampled, Tensor.from(expected.features, [2, 512]))).toBeLessThan(2e-5);
  });

  it("refuses what is no picture, and is of no use without weights", async () => {
    await expect(network.forward(Tensor.zeros([1, 1, 8, 8]))).rejects.toThrow(/shape \(B, 3, H, W\)/);
    await expect(new InceptionV3().forward(pictures(1, [8, 8]))).rejects.toThrow(/Conv2d_1a_3x3.conv.weight/);
  });
});

describe("LPIPS, against its authors' package with random trunks", () => {
  const { cases } = read<{
    cases: Record<
      string,
      {
        gain: number;
        trunk: Record<string, number[]>;
        image: [number, number];
        distances: number[];
      }
    >;
  }>("lpips.json");

  describe.each(Object.entries(cases))("%s", (net, expected) => {
    let network: LPIPS;
    let heads: Map<string, Tensor>;
    beforeAll(async () => {
      network = new LPIPS({ net });
      const own = [...(await safetensors.load(fixture("lpips-heads.safetensors")))];
      heads = new Map(
        own.flatMap(([key, head]) => (key.startsWith(net) ? [[key.slice(net.length + 1), head]] : [])),
      );
      await network.assign(new Map([...scaledWeights(expected.trunk, expected.gain), ...heads]));
      await network.useFastestLayout();
    });
    afterAll(() => network.dispose());
    const [first, second] = [2100, 2101].map((seed) => pictures(seed, expected.image).mul(2).sub(1)) as [
      Tensor,
      Tensor,
    ];

    it("has the package's keys and shapes", () => {
      const shapes = {
        ...expected.trunk,
        ...Object.fromEntries([...heads].map(([key, { shape }]) => [key, shape])),
      };
      expect(network.parameterShapes()).toEqual(shapes);
    });

    it("gives its distances with the learned heads, within 2e-5", async () => {
      const distances = await network.forward(first, second);
      expect(await relativeError(distances, Tensor.from(expected.distances, [2]))).toBeLessThan(2e-5);
      expect(await relativeError(await network.forward(second, first), distances)).toBeLessThan(2e-5);
    });

    it("gives 0 for a picture and itself", async () => {
      expect(Array.from(await (await network.forward(first, first)).data(), Number)).toEqual([0, 0]);
    });

    it("refuses pictures of two sizes, and those that its pools leave nothing of", async () => {
      await expect(network.forward(first, first.slice(2, 0, 40))).rejects.toThrow(/pictures of one shape/);
      const least = net === "alex" ? 31 : 16;
      const small = (side: number) => first.slice(2, 0, side).slice(3, 0, side);
      await network.forward(small(least), small(least));
      await expect(network.forward(small(least - 1), small(least - 1))).rejects.toThrow(
        new RegExp(`at least ${least} × ${least} pixels`),
      );
    });
  });
});

describe("Fréchet's distance, against pytorch-fid's by scipy's sqrtm", () => {
  type Spread = [seed: number, count: number, width: number, decay: number];
  const { cases } = read<{ cases: Record<string, { first: Spread; second: Spread; distance: number }> }>(
    "frechet.json",
  );

  /** Rows with directions of ever less variance, and a mean of their own, as the fixtures' script makes them. */
  function spread([seed, count, width, decay]: Spread): Tensor {
    const draws = (at: number, shape: number[]) => new Random(at).normal(shape).to("float64");
    const scale = Tensor.from(
      Float64Array.from({ length: width }, (_, i) => 10 ** ((-decay * i) / width)),
      [width],
    );
    const mixing = draws(seed, [width, width]).div(Math.sqrt(width));
    return draws(seed + 1, [count, width])
      .mul(scale)
      .matmul(mixing)
      .add(draws(seed + 2, [width]).mul(0.3));
  }

  // With fewer rows than features the product of the covariances is singular, and sqrtm itself is off by 1e-8.
  it.each(Object.entries(cases))("is the same %s, within 1e-7", async (_, { first, second, distance }) => {
    const found = await frechetDistance(gaussianOf(spread(first)), gaussianOf(spread(second)));
    expect(Math.abs(found / distance - 1)).toBeLessThan(1e-7);
  });

  it("is 0 of a set and itself, and ‖μ₁ - μ₂‖² of a set that is moved", async () => {
    const rows = spread([5, 60, 12, 1]);
    const own = gaussianOf(rows);
    expect(await frechetDistance(own, own)).toBeLessThan(1e-9);
    expect(await frechetDistance(own, gaussianOf(rows.add(0.5)))).toBeCloseTo(12 * 0.25, 9);
  });

  it("is what the closed form says of Gaussians on axes of their own", async () => {
    // ±a on each axis: variances 2a² / (2d - 1).
    const cross = (sides: number[]): Tensor => {
      const rows = sides.flatMap((side, i) =>
        [side, -side].map((a) => sides.map((_, j) => (i === j ? a : 0))),
      );
      return Tensor.from(Float64Array.from(rows.flat()), [rows.length, sides.length]);
    };
    const [a, b] = [
      [1, 2, 3],
      [2, 2, 5],
    ];
    const sum = a.reduce((total, side, i) => total + ((2 / 5) ** 0.5 * (side - b[i]!)) ** 2, 0);
    expect(await frechetDistance(gaussianOf(cross(a)), gaussianOf(cross(b)))).toBeCloseTo(sum, 12);
  });
});

describe("CMMD's distance, against clip-mmd's and a sum over pairs", () => {
  const { sets, shift, value } = read<{ sets: [number, number, number][]; shift: number; value: number }>(
    "cmmd.json",
  );
  const rows = sets.map(([seed, count, width], i) => {
    const drawn = new Random(seed)
      .normal([count, width])
      .to("float64")
      .add(i * shift);
    return drawn.div(drawn.square().sum(-1, true).sqrt());
  }) as [Tensor, Tensor];

  it("is the same, within 1e-9", async () => {
    expect(Math.abs((await meanDiscrepancy(...rows)) - value)).toBeLessThan(1e-9);
  });

  it("is the same over several blocks of rows, and 0 of a set and itself", async () => {
    const many = (x: Tensor, times: number) => Tensor.cat(Array<Tensor>(times).fill(x));
    const repeated = await meanDiscrepancy(many(rows[0], 11), many(rows[1], 3));
    expect(Math.abs(repeated - value)).toBeLessThan(1e-9);
    expect(Math.abs(await meanDiscrepancy(rows[0], rows[0]))).toBeLessThan(1e-9);
  });
});
