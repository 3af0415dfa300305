import type { Condition } from "../../diffusion/condition";
import { throwIfAborted } from "../../errors";
import { number } from "../../options/kinds";
import { noGrad } from "../../runtime/grad-mode";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { UpdateFilter } from "../../training/player";
import { scaledIdentity } from "./closed-form";
import { fillTemplates } from "./texts";

/** Of weights that read token states. */
const READS_TEXT = /attn2\.to_[kv]\.weight$/;

/** How strongly updates spare what the held texts read. */
export interface SpareOptions {
  readonly spare?: number;
  readonly spareFloor?: number;
}

/** Options of a method that filters its updates. */
export function sparing() {
  return {
    /**
     * Where neighbours are kept, how strongly the updates of cross-attention's keys and values spare what they and the
     * prompts to preserve read of a text; 0 leaves updates as they are. Default 30. See `filterFor`.
     */
    spare: number(SPARE, "how strongly updates of keys and values spare what the kept prompts read", {
      from: 0,
    }),
    /**
     * What a direction of the text encoder's space counts as the concept's at least, relative to the mean direction of the
     * kept prompts. The less it is, the better the concept is told from them, and the more directions are moved that no text
     * has used. Default 0.03.
     */
    spareFloor: number(FLOOR, "least share of a direction of text space in the concept", { above: 0 }),
  };
}

/** Chosen on the built-in model. */
const [SPARE, FLOOR] = [30, 0.03];
/** Phrasings that concepts and neighbours are told apart in, so that what is spared is spared in other sentences too. */
const PHRASINGS = [
  ...["{}", "a photo of a {}", "a picture of {}", "a painting of the {}", "{} in the style of art"],
  ...["many {}", "{} on a table", "a small red {}", "two of {} at night"],
];
/** Texts encoded together. */
const BATCH = 64;
/** Rounds in which concepts and held texts are weighed. */
const ROUNDS = 15;

/** What a filter is made from. */
export interface FilterJob {
  readonly concepts: readonly string[];
  readonly preserve: readonly string[];
  readonly neighbours: readonly string[];
  readonly signal?: AbortSignal | undefined;
  encode(prompts: readonly string[]): Promise<Condition>;
}

/**
 * The filter for updates of weights that read token states, ΔW → ΔW M with
 *
 *   M = A (A + s B)⁻¹ / g,  A = Σ w_e E[c_e c_eᵀ] + ε tr(B)/d I,  B = Σ w_r E[c_r c_rᵀ].
 *
 * c_e are the token states of a concept, c_r those of a held text: a neighbour, both in several phrasings, or a prompt to
 * preserve; s is `spare` and ε `spareFloor`. This is Wiener's filter: of the sum of a concept's state and √s times a held
 * text's, uncorrelated, M gives the best linear estimate of the concept's part. What a step changes for the concept stays,
 * what it would change for the held texts mostly goes, for all of them at once, where the loss that holds them draws one
 * for each item.
 *
 * The weights w_e and w_r, which add up to one each, begin even. What passes of a text is (E‖M c‖² / E‖c‖²)^½. In each of 15
 * rounds a concept's weight is divided by what passes of it, and a held text's multiplied, so that no concept is left
 * behind and no held text gives way for the others' mean. g is what passes of the concepts in the end, so that their steps
 * keep their length, whatever is spared. The choice is ours; Zeng et al. (arXiv 1810.01256) project
 * updates in continual learning.
 *
 * @returns (d, d) in float32, computed in float64 from moments in float32; null where no neighbours are kept or `spare` is 0
 * @throws ABORTED
 */
export async function filterFor(
  job: FilterJob,
  { spare: strength = 0, spareFloor: floor = FLOOR }: SpareOptions,
): Promise<UpdateFilter | null> {
  if (strength === 0 || job.neighbours.length === 0) return null;
  const matrix = await noGrad(() =>
    scope(async () => {
      const erased = await momentsOf(job, job.concepts, PHRASINGS);
      const near = await momentsOf(job, job.neighbours, PHRASINGS);
      const named = job.preserve.length === 0 ? [] : [await momentsOf(job, job.preserve, ["{}"])];
      const held = Tensor.cat([near, ...named]);
      return balanced(erased, held, strength, floor, job.signal);
    }),
  );
  return { matrix, applies: (name) => READS_TEXT.test(name) };
}

/** M, (d, d), of weighed moments, (n, d²) of the concepts and (m, d²) of the held texts. */
async function balanced(
  erased: Tensor,
  held: Tensor,
  strength: number,
  floor: number,
  signal?: AbortSignal,
): Promise<Tensor> {
  const width = Math.sqrt(erased.shape[1]!);
  const unit = scaledIdentity(width, 1, erased.device);
  const energies = [erased, held].map((moments) =>
    moments.matmul(unit.reshape([width ** 2, 1]).to("float32")),
  );
  let [own, other] = [evenly(erased), evenly(held)];
  for (let round = 0; ; round++) {
    throwIfAborted(signal);
    const weights = [own, other];
    const [filter, ...next] = await scope(async () => {
      const B = moment(held, weights[1]!);
      const A = moment(erased, weights[0]!).add(unit.mul(B.mul(unit).sum().div(width).mul(floor)));
      // M = A X with X = (A + s B)⁻¹; both are symmetric, so that Mᵀ = X A.
      const M = A.choleskySolve(A.add(B.mul(strength)).cholesky()).transpose(0, 1);
      // E‖M c‖² = ⟨MᵀM, E[c cᵀ]⟩.
      const power = M.transpose(0, 1)
        .matmul(M)
        .to("float32")
        .reshape([width ** 2, 1]);
      const [ge, gr] = [erased, held].map((moments, at) => moments.matmul(power).div(energies[at]!).sqrt());
      if (round === ROUNDS) return [await M.div(ge!.mean()).to("float32").contiguous().settled()];
      const shares = [weights[0]!.div(ge!), weights[1]!.mul(gr!)];
      return Promise.all(shares.map((share) => share.div(share.sum()).settled()));
    });
    own.dispose();
    other.dispose();
    if (next.length === 0) return filter!;
    [own, other] = [filter!, next[0]!];
  }
}

/** Weights (n, 1) that add up to one. */
function evenly({ shape: [count], device }: Tensor): Tensor {
  return Tensor.from(new Float32Array(count!).fill(1 / count!), [count!, 1], { device });
}

/** Their weighed sum, (d, d) float64. */
function moment(moments: Tensor, weights: Tensor): Tensor {
  const width = Math.sqrt(moments.shape[1]!);
  return weights.transpose(0, 1).matmul(moments).to("float64").reshape([width, width]);
}

/** E[c cᵀ] over all token states of each name in its phrasings, (n, d²) float32. */
async function momentsOf(
  job: FilterJob,
  names: readonly string[],
  phrasings: readonly string[],
): Promise<Tensor> {
  const parts: Tensor[] = [];
  const step = Math.ceil(BATCH / phrasings.length);
  for (let first = 0; first < names.length; first += step) {
    throwIfAborted(job.signal);
    const some = names.slice(first, first + step);
    const texts = fillTemplates(some, phrasings).map(({ text }) => text);
    parts.push(
      await scope(async () => {
        const { context } = await job.encode(texts); // (n p, L, d)
        const [, length, width] = context.shape as [number, number, number];
        const rows = context.to("float64").reshape([some.length, phrasings.length * length, width]);
        const sums = rows.transpose(1, 2).matmul(rows).div(rows.shape[1]!);
        return await sums
          .to("float32")
          .reshape([some.length, width ** 2])
          .settled();
      }),
    );
  }
  return Tensor.cat(parts);
}
