import type { Condition } from "../../diffusion/condition";
import { throwIfAborted } from "../../errors";
import { number } from "../../options/kinds";
import { noGrad } from "../../runtime/grad-mode";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { UpdateFilter } from "../../training/player";
import { fillTemplates } from "./texts";

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
     * Where neighbours are kept, how strongly the updates of cross-attention's keys and values spare what they and the
     * prompts to preserve read of a text; 0 leaves updates as they are. Default 10. See `filterFor`.
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

/** Phrasings that concepts and neighbours are told apart in, so that what is spared is spared in other sentences too. */
const PHRASINGS = [
  ...["{}", "a photo of a {}", "a picture of {}", "a painting of the {}", "{} in the style of art"],
  ...["many {}", "{} on a table", "a small red {}", "two of {} at night"],
];
/** Texts encoded together. */
const BATCH = 64;

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
 *   M = A (A + s B)⁻¹,  A = E[c_e c_eᵀ] + ε tr(B)/d I,  B = E[c_r c_rᵀ].
 *
 * c_e are the token states of the concepts, c_r those of the neighbours, both in several phrasings, and of the prompts to
 * preserve; s is `spare` and ε `spareFloor`. This is Wiener's filter: of the sum of a concept's state and √s times a
 * held text's, uncorrelated, M gives the best linear estimate of the concept's part. What a step changes for the concept
 * stays, what it would change for the held texts mostly goes, for all of them at once, where the loss that holds them
 * draws one for each item. The choice is ours; Zeng et al. (arXiv 1810.01256) project updates in continual learning.
 *
 * @returns (d, d) in float32, computed in float64; null where no neighbours are kept or `spare` is 0
 * @throws ABORTED
 */
export async function filterFor(
  job: FilterJob,
  { spare: strength = 0, spareFloor: floor = 0.1 }: SpareOptions,
): Promise<UpdateFilter | null> {
  const phrased = (names: readonly string[]): string[] =>
    fillTemplates(names, PHRASINGS).map(({ text }) => text);
  const held = [...job.preserve, ...phrased(job.neighbours)];
  if (strength === 0 || job.neighbours.length === 0) return null;
  const matrix = await noGrad(() =>
    scope(async () => {
      const other = await secondMoment(job, held);
      const width = other.shape[0]!;
      const unit = identity(width, other.device);
      const meanEnergy = other.mul(unit).sum().div(width);
      const own = (await secondMoment(job, phrased(job.concepts))).add(unit.mul(meanEnergy).mul(floor));
      // M = A X with X = (A + s B)⁻¹; both are symmetric, so that Mᵀ = X A.
      const factor = own.add(other.mul(strength)).cholesky();
      return await own.choleskySolve(factor).transpose(0, 1).to("float32").contiguous().settled();
    }),
  );
  return { matrix, applies: (name) => READS_TEXT.test(name) };
}

/** E[c cᵀ] over all token states of some texts, (d, d) float64. */
async function secondMoment(job: FilterJob, texts: readonly string[]): Promise<Tensor> {
  let sum: Tensor | undefined;
  let count = 0;
  for (let first = 0; first < texts.length; first += BATCH) {
    throwIfAborted(job.signal);
    const before = sum;
    sum = await scope(async () => {
      const { context } = await job.encode(texts.slice(first, first + BATCH)); // (b, L, d)
      const width = context.shape.at(-1)!;
      const rows = context.to("float64").reshape([context.size / width, width]);
      count += rows.shape[0]!;
      const part = rows.transpose(0, 1).matmul(rows);
      return await (before === undefined ? part : before.add(part)).settled();
    });
    before?.dispose();
  }
  return sum!.div(count);
}

function identity(size: number, device: string): Tensor {
  const elements = new Float64Array(size * size);
  for (let i = 0; i < size; i++) elements[i * size + i] = 1;
  return Tensor.from(elements, [size, size], { device });
}
