import { networksOf } from "../../lib/io/checkpoint-types";
import type { CheckpointSource } from "../../lib/io/checkpoint-types";
import { withReader } from "../../lib/io/location-reader";

/** Every tensor of a checkpoint as "component key dtype shape bytes", sorted: equal for equal weights in any layout. */
export async function checkpointContent(source: CheckpointSource): Promise<string[]> {
  const lines: string[] = [];
  await withReader(undefined, async (reader) => {
    for (const [component, { tensors }] of networksOf(source)) {
      for (const [key, location] of tensors) {
        const bytes = Buffer.from(await reader.bytes(location)).toString("base64");
        lines.push(`${component} ${key} ${location.dtype} [${location.shape.join()}] ${bytes}`);
      }
    }
  });
  return lines.sort();
}

/** Lines of `a` that differ from `b`'s, without their bytes. */
export function differing(a: string[], b: string[]): string[] {
  const there = new Set(b);
  return a.filter((line) => !there.has(line)).map((line) => line.split(" ").slice(0, 2).join(" "));
}
