import { readFileSync } from "node:fs";
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

/** The largest resident size of this program until now. What `resourceUsage` has begins with that of the one that started it. */
export function peakBytes(): number {
  const [, kibibytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))!;
  return Number(kibibytes) * 1024;
}
