import type { ComputeDtype, Device } from "../../lib/index";

/** What is measured, in the order of its worth. */
export const STEPS = ["parity", "training", "methods"] as const;
export type StepName = (typeof STEPS)[number];

/** Guided denoising stands among the methods under this name. */
export const GENERATE = "generate";

export type Size = "full" | "pocket";

/** One trial: it runs in a process of its own. */
export type Assignment =
  | { step: "parity"; device: Device; dtype: ComputeDtype }
  | { step: "training"; device: Device }
  | { step: "checkpoint"; folder: string }
  | {
      step: "methods";
      /** A registered one, or GENERATE. */
      method: string;
      model: string;
      device: Device;
      dtype: ComputeDtype;
      iterations: number;
    };

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
