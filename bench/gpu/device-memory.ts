import { spawn, spawnSync } from "node:child_process";

const EVERY_MS = 100;
const QUERY = ["--query-gpu=memory.used", "--format=csv,noheader,nounits", "-i", "0"];
const MIB = 2 ** 20;

/** A result, and how much memory of the GPU it took; null where nothing tells. */
export type Watched<T> = T & { deviceBytes: number | null };

/** What a process gives, with the memory that it took; null where it gives nothing. */
export async function watched<T extends object>(run: () => Promise<T | null>): Promise<Watched<T> | null> {
  const endWatch = watchDeviceMemory();
  let deviceBytes: number | null = null;
  const result = await run().finally(() => (deviceBytes = endWatch()));
  return result === null ? null : { ...result, deviceBytes };
}

/**
 * Watches how much memory of the first GPU is taken, by whatever process; so ours and the peer's are measured alike, with
 * what their allocators hold back and CUDA's own.
 * @returns a function that ends it and gives the rise from now to the highest, in bytes; null without nvidia-smi
 */
function watchDeviceMemory(): () => number | null {
  const { status, stdout } = spawnSync("nvidia-smi", QUERY, { encoding: "utf8" });
  if (status !== 0) return () => null;
  const before = Number(stdout);
  const child = spawn("nvidia-smi", [...QUERY, "-lms", String(EVERY_MS)], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  let highest = before;
  let rest = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    highest = Math.max(highest, ...lines.map(Number).filter((value) => Number.isFinite(value)));
  });
  return () => {
    child.kill();
    return (highest - before) * MIB;
  };
}
