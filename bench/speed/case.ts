import { median } from "../statistics";

/** What one process measured. Seconds are medians over the repetitions; the peer's stand beside ours. */
export interface Measurement {
  /** Seconds by name; the peer reports the same names. */
  seconds: Record<string, number>;
  /** Other figures: evaluations, bytes, losses. */
  figures?: Record<string, number>;
  /** Largest resident size of the process, in bytes. */
  peakBytes: number;
}

/** One line of the table of cases. */
export interface SpeedCase {
  name: string;
  /** What is measured, for people. */
  title: string;
  /** Makes what both sides read; called once for all cases that name it, before the first of them. Default: nothing. */
  prepare?(): Promise<void>;
  /** Removes what is too large to be kept for the next run; called as `prepare` is, after the last. Default: nothing. */
  tidy?(): Promise<void>;
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
