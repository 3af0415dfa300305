import { addon } from "./binding";

/**
 * The GPU of one of several processes on a machine: by its number there, which torchrun (LOCAL_RANK) and Slurm
 * (SLURM_LOCALID) tell. Undefined where nothing tells it, or there is no choice.
 * @param devices GPUs that the process sees
 */
export function localDevice(
  env: Readonly<Record<string, string | undefined>> = process.env,
  devices = (): number => addon().deviceCount(),
): `cuda:${number}` | undefined {
  const number = env["LOCAL_RANK"] || env["SLURM_LOCALID"] || "";
  if (!/^\d+$/.test(number)) return undefined;
  const count = devices();
  return count > 1 ? `cuda:${Number(number) % count}` : undefined;
}
