const FIRST = 1 / 8;
const LAST = 64;
const HALVINGS = 4;

/**
 * The smallest strength that leaves at most `allowed` hits: doubled until it does, then four halvings of the last step.
 * @param hitsAt counts at a strength
 * @returns where none does, the one of those tried with the fewest
 */
export async function smallestAlpha(
  hitsAt: (alpha: number) => Promise<number>,
  allowed: number,
): Promise<number> {
  let best = { alpha: FIRST, hits: Infinity };
  let [low, high] = [0, FIRST];
  for (; ; [low, high] = [high, 2 * high]) {
    const hits = await hitsAt(high);
    if (hits <= allowed) break;
    if (hits < best.hits) best = { alpha: high, hits };
    if (high >= LAST) return best.alpha;
  }
  for (let halving = 0; halving < HALVINGS; halving++) {
    const middle = (low + high) / 2;
    if ((await hitsAt(middle)) <= allowed) high = middle;
    else low = middle;
  }
  return high;
}
