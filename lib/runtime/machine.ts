import { cpus } from "node:os";
import { VERSION } from "../version";
import { addon } from "./binding";
import { nvidiaState } from "./nvidia";

/**
 * What a picture's bytes depend on beside the model, the options and the seed. Where all of it is the same, the same bits
 * are expected; where anything differs, rounding may.
 */
export interface MachineKind {
  "kpop-native": string;
  libtorch: string;
  /** "linux-x64". */
  platform: string;
  /** What computes: the model of the CPU, or that of the GPU with its driver's version. */
  processor: string;
  /** The instruction set that libtorch's kernels use, "AVX512". */
  capability: string;
  /** Of libtorch. */
  threads: number;
  /** What compresses pictures. */
  zlib: string;
}

/**
 * The kind of this machine, as a device of it computes.
 * @param device "cpu", "cuda:0", ...
 * @returns null where the system does not say what processor that is
 */
export function machineKind(device: string): MachineKind | null {
  const processor = device === "cpu" ? (cpus()[0]?.model.trim() ?? "") : gpu();
  if (processor === "") return null;
  const native = addon();
  return {
    "kpop-native": VERSION,
    libtorch: native.builtForTorch,
    platform: `${process.platform}-${process.arch}`,
    processor,
    capability: native.cpuCapability(),
    threads: native.threads(),
    zlib: process.versions.zlib,
  };
}

/** Of several kinds of GPU nobody tells which one a device is. */
function gpu(): string {
  const { models, driver } = nvidiaState();
  const [model, ...others] = new Set(models);
  return model === undefined || others.length > 0 || driver === null ? "" : `${model}, driver ${driver}`;
}
