import { cpus, totalmem } from "node:os";
import { version } from "../package.json";

/** What is known of the machine. */
export interface Machine {
  cpu: string;
  cores: number;
  memoryBytes: number;
  node: string;
  library: string;
}

export function machine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown processor",
    cores: cpus().length,
    memoryBytes: totalmem(),
    node: process.versions.node,
    library: version,
  };
}

/** The largest resident size of this process until now. */
export function peakBytes(): number {
  return process.resourceUsage().maxRSS * 1024;
}
