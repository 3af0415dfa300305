import { STATES_TOGETHER } from "../../diffusion/text-encoders";
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

/** What rows are encoded by. */
type Encoder = Pick<ErasureJob, "encode" | "signal">;

/**
 * The rows of texts below each other, in the order given. Each text is encoded once, as far as its last row; only the rows
 * wanted are held.
 * @returns (Σ count, d) float64
 * @throws ABORTED
 */
export async function encodeRows(job: Encoder, wanted: readonly TextRows[]): Promise<Tensor> {
  return (await encodeRowLists(job, [wanted]))[0];
}

/**
 * As `encodeRows`, several lists at once: a text that is in more than one is encoded once, too.
 * @returns (Σ count, d) float64 for each list, (0, d) for an empty one
 */
export async function encodeRowLists<const Lists extends readonly (readonly TextRows[])[]>(
  job: Encoder,
  lists: Lists,
): Promise<{ [K in keyof Lists]: Tensor }> {
  const wanted = lists.flat();
  return scope(async () => {
    const parts = new Array<Tensor>(wanted.length);
    for (const { texts, length } of batchesOf(wanted)) {
      throwIfAborted(job.signal);
      const found = await scope(async () => {
        const { context: states } = await job.encode([...texts.keys()], { length }); // (B, length, d) at least
        return [...texts.values()].flatMap((places, item) =>
          places.map((index) => {
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
    let first = 0;
    return lists.map((list) => {
      const own = parts.slice(first, first + list.length);
      first += list.length;
      return own.length > 0 ? Tensor.cat(own) : parts[0]!.slice(0, 0, 0).clone();
    }) as { [K in keyof Lists]: Tensor };
  });
}

/** Texts that are encoded together, each with the places of its rows, as far as the furthest of their rows. */
interface Batch {
  readonly texts: Map<string, number[]>;
  length: number;
}

/** Texts of which few states are wanted do not wait for those of which many are. */
function batchesOf(wanted: readonly TextRows[]): Batch[] {
  const uses = new Map<string, number[]>();
  wanted.forEach(({ text }, index) => uses.set(text, [...(uses.get(text) ?? []), index]));
  const all = [...uses].map(([text, places]) => ({
    text,
    places,
    length: Math.max(...places.map((index) => wanted[index]!.from + wanted[index]!.count)),
  }));
  const batches: Batch[] = [];
  for (const { text, places, length } of all.sort((a, b) => b.length - a.length)) {
    const last = batches.at(-1);
    const fits = last !== undefined && (last.texts.size + 1) * last.length <= STATES_TOGETHER;
    if (fits && 2 * length >= last.length) last.texts.set(text, places);
    else batches.push({ texts: new Map([[text, places]]), length });
  }
  return batches;
}
