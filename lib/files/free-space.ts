import { stat, statfs } from "node:fs/promises";
import { KpopError } from "../errors";

/** Room that a file or folder is going to take. */
export interface Demand {
  /** A folder that is there. */
  readonly folder: string;
  readonly bytes: number;
}

/** Compares what is to be written with what its disks have left; disks that do not say so pass.
 *  @param what is to be written, for the message
 *  @throws NO_SPACE */
export async function checkSpace(what: string, demands: readonly Demand[]): Promise<void> {
  const byDisk = new Map<number, Demand>();
  for (const { folder, bytes } of demands) {
    const { dev } = await stat(folder);
    byDisk.set(dev, { folder, bytes: bytes + (byDisk.get(dev)?.bytes ?? 0) });
  }
  for (const { folder, bytes } of byDisk.values()) {
    const disk = await statfs(folder).catch(() => null);
    if (disk === null || disk.blocks === 0) continue;
    const free = disk.bavail * disk.bsize;
    if (free >= bytes) continue;
    throw new KpopError(
      "NO_SPACE",
      `Cannot write ${what}: it takes ${megabytes(bytes)}, and ${folder} has ${megabytes(free)} left; free some space or choose another place`,
    );
  }
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}
