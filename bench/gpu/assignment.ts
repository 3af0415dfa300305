import type { ComputeDtype, Device } from "../../lib/index";

/** What is measured, in the order of its worth. */
export const STEPS = ["parity", "training", "methods"] as const;
export type StepName = (typeof STEPS)[number];

export const METHODS = ["kpop", "esd", "ca", "uce", "generate"] as const;
export type Method = (typeof METHODS)[number];

export type Size = "full" | "pocket";

/** One trial: it runs in a process of its own. */
export type Assignment =
  | { step: "parity"; device: Device; dtype: ComputeDtype }
  | { step: "training"; device: Device }
  | { step: "checkpoint"; folder: string }
  | {
      step: "methods";
      method: Method;
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
  /** Median seconds of an iteration or denoising step; of UCE's whole run. */
  seconds: number;
  repeats: number;
  /** UNet evaluations in that time; none for UCE. */
  evaluations: number;
  /** Largest resident size of the process. */
  hostBytes: number;
}
