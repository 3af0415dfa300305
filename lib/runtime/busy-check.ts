import { cpus, loadavg } from "node:os";
import type { DoctorCheck } from "./gpu-check";

/** How busy a machine is. */
export interface MachineLoad {
  /** Of the whole machine, as the load is. */
  cores: number;
  /** Tasks that ran or wanted to, on average over the last minute. */
  load: number;
}

/** That of this machine. */
export function machineLoad(): MachineLoad {
  return { cores: cpus().length, load: loadavg()[0]! };
}

/**
 * What to say of other programs that compute. It is worth a word, but no fault: measured on two cores, 40 iterations of
 * KPOP take 8.7 s alone, and 19 to 38 s beside two busy processes.
 * @param threads of libtorch; a single one waits for no other
 */
export function busyCheck(threads: number, { cores, load }: MachineLoad): DoctorCheck {
  const found = `load ${load.toFixed(1)} on ${cores} ${cores === 1 ? "core" : "cores"}`;
  if (load <= cores || threads === 1) return { name: "cpu", ok: true, found };
  return {
    name: "cpu",
    ok: true,
    found: `${found}: other programs compute, and training gets several times slower, as OpenMP's threads wait for each other`,
    remedy:
      "Wait until they are done, or set OMP_NUM_THREADS to the number of cores that they leave free (1 at least)",
  };
}
