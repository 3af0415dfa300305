import type { ComputeDtype, Device } from "../../lib/index";

/** What is measured, in the order of its worth. */
export const STEPS = ["parity", "erasure", "training", "unet", "methods"] as const;
export type StepName = (typeof STEPS)[number];

/** Guided denoising stands among the methods under this name. */
export const GENERATE = "generate";

/** And an erasure by KPOP's defaults from its call to its end, 1000 iterations. */
export const WHOLE = "kpop-1000";

export type Size = "full" | "pocket";

/** One trial: it runs in a process of its own. */
export type Assignment =
  | { step: "parity"; device: Device; dtype: ComputeDtype }
  | { step: "erasure"; device: Device; dtype: ComputeDtype }
  | { step: "training"; device: Device }
  | { step: "checkpoint"; folder: string }
  | { step: "unet"; model: string; device: Device; dtype: ComputeDtype }
  | {
      step: "methods";
      /** A name of `TIMED`. */
      method: string;
      model: string;
      device: Device;
      dtype: ComputeDtype;
      iterations: number;
    };

/** Seconds of one forward, and of one forward and backward into attn2, by batch; the peer reports the same. */
export type UNetTiming = Record<"forward" | "training", Record<string, number>>;

/** A figure against the reference's. */
export interface Comparison {
  checkpoint: string;
  what: string;
  error: number;
  limit: number;
}

/** How long one method takes; the peer reports the same. */
export interface Timing {
  /** What was timed: an iteration, a denoising step, or a whole run where there is no training. */
  of: "iteration" | "step" | "run";
  /** Median seconds of it. */
  seconds: number;
  repeats: number;
  /** UNet evaluations in that time. */
  evaluations: number;
  /** Largest resident size of the process. */
  hostBytes: number;
}
