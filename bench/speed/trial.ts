/** What one trial measured. Seconds are medians over the repetitions; the peer's stand beside ours. */
export interface Measurement {
  /** Seconds by name; the peer reports the same names. */
  seconds: Record<string, number>;
  /** Other figures: evaluations, bytes, losses. */
  figures?: Record<string, number>;
  /** Largest resident size of the process, in bytes. */
  peakBytes: number;
}

/** One line of the table of trials. */
export interface Trial {
  name: string;
  /** What is measured, for people. */
  title: string;
  /** Runs in a process of its own. */
  run(): Promise<Measurement>;
  /** Python script under bench/speed/peers that does the same work, with its arguments. */
  peer?: { script: string; arguments: string[] };
}

/** Median seconds of `repeats` calls; a call that is not counted goes before two and more. */
export async function time(body: () => Promise<void>, repeats: number): Promise<number> {
  const seconds: number[] = [];
  for (let i = repeats > 1 ? -1 : 0; i < repeats; i++) {
    const start = performance.now();
    await body();
    if (i >= 0) seconds.push((performance.now() - start) / 1000);
  }
  return median(seconds);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function peakBytes(): number {
  return process.resourceUsage().maxRSS * 1024;
}
