import type { ComputeDtype, Device } from "../../lib/index";
import type { Comparison, Method, Size, Timing } from "./assignment";
import type { Cost } from "./operations";
import type { TrainingSpeed } from "./training";

/** Where and with what it ran. */
export interface Machine {
  processor: string;
  processors: number;
  gpu: string | null;
  node: string;
  "kpop-native": string;
  libtorch: string;
  /** Of the peer; null where it cannot run, and why. */
  peer: Record<string, string> | null;
  peerMissing: string | null;
}

/** One method in one dtype, both sides. */
export interface MethodResult {
  method: Method;
  dtype: ComputeDtype;
  ours: (Timing & { deviceBytes: number | null }) | null;
  peer: (Timing & { deviceBytes: number | null }) | null;
  /** Of one of our iterations; none for UCE. */
  cost: Cost | null;
}

/** Everything that results.json holds. */
export interface Results {
  date: string;
  seconds: number;
  size: Size;
  device: Device;
  machine: Machine;
  parity: { dtype: ComputeDtype; comparisons: Comparison[] }[];
  training: TrainingSpeed | null;
  methods: MethodResult[];
  /** What did not run, with its last words. */
  failures: { what: string; reason: string }[];
}
