import type { Condition } from "../../diffusion/condition";
import { number } from "../../options/kinds";
import { noGrad } from "../../runtime/grad-mode";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { UpdateFilter } from "../../training/player";

/** Of weights that read token states. */
const READS_TEXT = /attn2\.to_[kv]\.weight$/;

/** How strongly updates spare what the held texts read. */
export interface SpareOptions {
  readonly spare?: number;
  readonly spareFloor?: number;
}

/** Options of a method that filters its updates. @param strength default of `spare` */
export function sparing(strength: number) {
  return {
    /**
     * How strongly the updates of cross-attention's keys and values spare what the prompts to preserve and the neighbours
     * read of a text; 0 leaves updates as they are. See `filterFor`.
     */
    spare: number(strength, "how strongly updates of keys and values spare what the kept prompts read", {
      from: 0,
    }),
    /**
     * What a direction of the text encoder's space counts as the concept's at least, relative to the mean direction of the
     * kept prompts. The less it is, the better the concept is told from them, and the more directions are moved that no text
     * has used. Default 0.1.
     */
    spareFloor: number(0.1, "least share of a direction of text space in the concept", { above: 0 }),
  };
}

/**
 * The filter for updates of weights that read token states, ΔW → ΔW M with
 *
 *   M = A (A + s B)⁻¹,  A = E[c_e c_eᵀ] + ε tr(B)/d I,  B = E[c_r c_rᵀ].
 *
 * c_e are the token states of the texts to erase, c_r those of the texts to hold, s is `spare` and ε `spareFloor`. This is
 * Wiener's filter: of a state that is a concept's and √s of a held text's, uncorrelated, M c is the best linear estimate
 * of the concept's part. What a step changes for the concept stays, what it would change for the held texts mostly goes,
 * all of them at once and for next to nothing, where the loss that holds them draws one for each item. The choice is
 * ours; Zeng et al. (arXiv 1810.01256) project the updates of continual learning in a similar way.
 *
 * @param erased (n, L, d)   @param held (m, L, d)
 * @returns (d, d) in float32, computed in float64
 */
export async function filterFor(
  erased: Condition,
  held: Condition,
  { spare: strength = 0, spareFloor: floor = 0.1 }: SpareOptions,
): Promise<UpdateFilter> {
  const matrix = await noGrad(() =>
    scope(async () => {
      const other = secondMoment(held.context);
      const width = other.shape[0]!;
      const unit = identity(width, other.device);
      const meanEnergy = other.mul(unit).sum().div(width);
      const own = secondMoment(erased.context).add(unit.mul(meanEnergy).mul(floor));
      // M = A X with X = (A + s B)⁻¹; both are symmetric, so that Mᵀ = X A.
      const factor = own.add(other.mul(strength)).cholesky();
      return await own.choleskySolve(factor).transpose(0, 1).to("float32").contiguous().settled();
    }),
  );
  return { matrix, applies: (name) => READS_TEXT.test(name) };
}

/** E[c cᵀ] over all rows, (d, d) float64. */
function secondMoment(context: Tensor): Tensor {
  const width = context.shape.at(-1)!;
  const rows = context.to("float64").reshape([context.size / width, width]);
  return rows.transpose(0, 1).matmul(rows).div(rows.shape[0]!);
}

function identity(size: number, device: string): Tensor {
  const elements = new Float64Array(size * size);
  for (let i = 0; i < size; i++) elements[i * size + i] = 1;
  return Tensor.from(elements, [size, size], { device });
}
