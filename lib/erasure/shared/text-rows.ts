import { throwIfAborted } from "../../errors";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { ErasureJob } from "../job";

/** Some consecutive token rows of a text's encoding. */
export interface TextRows {
  readonly text: string;
  /** The first of them. */
  readonly from: number;
  readonly count: number;
}

/** Enough to keep the encoder busy, few enough that a hundred prompts take no more memory than these. */
const BATCH = 16;

/**
 * The rows of texts below each other, in the order given. Each text is encoded once; only the rows wanted are held.
 * @returns (Σ count, d) float64
 * @throws ABORTED
 */
export async function encodeRows(
  job: Pick<ErasureJob, "encode" | "signal">,
  wanted: readonly TextRows[],
): Promise<Tensor> {
  const uses = new Map<string, number[]>();
  wanted.forEach(({ text }, index) => uses.set(text, [...(uses.get(text) ?? []), index]));
  const texts = [...uses.keys()];
  return scope(async () => {
    const parts = new Array<Tensor>(wanted.length);
    for (let first = 0; first < texts.length; first += BATCH) {
      throwIfAborted(job.signal);
      const batch = texts.slice(first, first + BATCH);
      const found = await scope(async () => {
        const { context: states } = await job.encode(batch); // (B, L, d)
        return batch.flatMap((text, item) =>
          uses.get(text)!.map((index) => {
            const { from, count } = wanted[index]!;
            const rows = states
              .slice(0, item, item + 1)
              .squeeze(0)
              .slice(0, from, from + count);
            return { index, rows: rows.to("float64") };
          }),
        );
      });
      for (const { index, rows } of found) parts[index] = rows;
    }
    return Tensor.cat(parts);
  });
}
