import type { ComputeDtype, Device } from "../../lib/index";
import type { Failure } from "../runner";
import type { Machine } from "../machine";
import type { Comparison, Size, Timing, UNetTiming } from "./assignment";
import type { ErasureRates } from "./erasure";
import type { Watched } from "./device-memory";
import type { Cost } from "./costs";
import type { TrainingSpeed } from "./training";

/** Where and with what it ran. */
export interface GpuMachine extends Machine {
  gpu: string | null;
  libtorch: string;
  /** Of the peer; null where it cannot run, and why. */
  peer: Record<string, string> | null;
  peerMissing: string | null;
}

/** One method in one dtype, both sides. */
export interface MethodResult {
  method: string;
  dtype: ComputeDtype;
  ours: Watched<Timing> | null;
  /** Null too where the peer has no such method. */
  peer: Watched<Timing> | null;
  /** Of one of our iterations; null where nothing counts it. */
  cost: Cost | null;
}

/** The UNet alone in one dtype, both sides. */
export interface UNetResult {
  dtype: ComputeDtype;
  ours: UNetTiming | null;
  peer: UNetTiming | null;
}

/** Everything that results.json holds. */
export interface Results {
  date: string;
  seconds: number;
  size: Size;
  device: Device;
  machine: GpuMachine;
  parity: { dtype: ComputeDtype; comparisons: Comparison[] }[];
  erasures: ErasureRates[];
  training: TrainingSpeed | null;
  unet: UNetResult[];
  methods: MethodResult[];
  /** What did not run, with its last words. */
  failures: Failure[];
}
