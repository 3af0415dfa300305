import { invalid } from "../check";
import { KpopError } from "../errors";
import { noGrad } from "../runtime/grad-mode";
import type { Random } from "../runtime/random";
import { scope } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";

/** Bounds [from, to] of a cosine, both within [-1, 1]. */
export type CosineBand = readonly [from: number, to: number];

/** The bands of figure 1 of the Diverse Inversion paper (arXiv 2404.03631). */
export const DIVERSE_BANDS: readonly CosineBand[] = Object.freeze([
  [-1, -0.8],
  [-0.8, -0.6],
  [-0.6, -0.4],
  [-0.4, -0.2],
  [-0.2, 0],
  [0, 0.2],
  [0.2, 0.4],
  [0.4, 0.6],
  [0.6, 0.8],
  [0.95, 0.98],
] as const);

/** A non-empty list of bands that have a point each. @throws INVALID_ARGUMENT */
export function checkBands(bands: unknown): readonly CosineBand[] {
  if (!Array.isArray(bands) || bands.length === 0) throw invalid("bands", "a non-empty list of bands", bands);
  for (const band of bands as unknown[]) {
    if (!Array.isArray(band) || band.length !== 2 || !band.every((bound) => Number.isFinite(bound)))
      throw invalid("a band", "two cosines [from, to]", band);
    const [from, to] = band as [number, number];
    if (from <= to && from >= -1 && to <= 1) continue;
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected a band [from, to] with -1 <= from <= to <= 1 but no vector has a cosine in [${from}, ${to}]`,
    );
  }
  return bands as readonly CosineBand[];
}

/**
 * Holds vectors at a cosine with a centre: each is turned, in the plane of the two, to the nearest point of its band;
 * its length stays. A vector along the centre, which has no such plane, turns towards a direction drawn once.
 */
export class BandProjection {
  /** (d), of length 1. */
  private readonly centre: Tensor;
  /** (N, 1, 1) each. */
  private readonly from: Tensor;
  private readonly to: Tensor;
  /** (N, n, d), orthogonal to the centre. */
  private readonly aside: Tensor;

  private constructor(parts: Record<"centre" | "from" | "to" | "aside", Tensor>) {
    this.centre = parts.centre;
    this.from = parts.from;
    this.to = parts.to;
    this.aside = parts.aside;
  }

  /**
   * @param centre (d)
   * @param bands one for each of N members
   * @param vectors n of each member
   * @throws INVALID_ARGUMENT where the centre is zero, which no vector has a cosine with
   */
  static async create(
    centre: Tensor,
    bands: readonly CosineBand[],
    vectors: number,
    random: Random,
  ): Promise<BandProjection> {
    const { device } = centre;
    const width = centre.size;
    if ((await centre.abs().amax(0).item()) === 0)
      throw invalid("the concept's embedding", "a vector other than zero", centre.shape);
    const parts = scope(() =>
      noGrad(() => {
        const double = centre.to("float64");
        const unit = double.div(length(double));
        const bounds = (side: 0 | 1): Tensor =>
          Tensor.from(
            Float64Array.from(bands, (band) => band[side]),
            [bands.length, 1, 1],
            { device },
          );
        const drawn = random.normal([bands.length, vectors, width], { dtype: "float64", device });
        const aside = drawn.sub(drawn.mul(unit).sum(-1, true).mul(unit));
        return { centre: unit, from: bounds(0), to: bounds(1), aside };
      }),
    );
    return new BandProjection(parts);
  }

  /**
   * Seeded starting points of the centre's length, in the middle of their bands.
   * @param size ‖v‖, of every vector
   * @returns (N, n, d) float64
   */
  start(size: Tensor): Tensor {
    return scope(() =>
      noGrad(() => this.compose(size.to("float64"), this.from.add(this.to).div(2), this.aside)),
    );
  }

  /** @param vectors (N, n, d) @returns (N, n, d) float64 */
  project(vectors: Tensor): Tensor {
    return scope(() =>
      noGrad(() => {
        const double = vectors.to("float64");
        const size = length(double);
        const along = double.mul(this.centre).sum(-1, true);
        // So small a share of another direction shows only where there is no other.
        const rest = double.sub(along.mul(this.centre)).add(this.aside.mul(size).mul(1e-9));
        // Along the centre, what is left of `double` is rounding, which is not orthogonal to it.
        const aside = rest.sub(rest.mul(this.centre).sum(-1, true).mul(this.centre));
        return this.compose(size, along.div(size).minimum(this.to).maximum(this.from), aside);
      }),
    );
  }

  dispose(): void {
    for (const tensor of [this.centre, this.from, this.to, this.aside]) tensor.dispose();
  }

  /** Vectors of a length and a cosine with the centre, the rest of them along `aside`, which is orthogonal to it. */
  private compose(size: Tensor, cosine: Tensor, aside: Tensor): Tensor {
    const sine = cosine.square().neg().add(1).clamp(0, 1).sqrt();
    const direction = aside.div(length(aside));
    return cosine.mul(this.centre).add(sine.mul(direction)).mul(size);
  }
}

/** Euclidean norms along the last dimension, which stays with length 1. */
function length(vectors: Tensor): Tensor {
  return vectors.square().sum(-1, true).sqrt();
}
