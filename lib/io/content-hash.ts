import { createHash } from "node:crypto";
import type { ComponentSource } from "./checkpoint-types";
import { withReader } from "./location-reader";

/** SHA-256 over what a network's tensors hold (key, dtype, shape and bytes, by key), as 64 hexadecimal digits. The
 *  same for the same weights whatever files and naming they are stored in.
 *  @throws IO_ERROR, NOT_FOUND, ABORTED */
export async function contentHash(
  { tensors }: Pick<ComponentSource, "tensors">,
  options: { signal?: AbortSignal } = {},
): Promise<string> {
  const hash = createHash("sha256");
  await withReader(options.signal, async (reader) => {
    for (const [key, location] of [...tensors].sort(([a], [b]) => (a < b ? -1 : 1))) {
      hash.update(`${JSON.stringify([key, location.dtype, location.shape])}\n`);
      for await (const chunk of reader.chunks(location)) hash.update(chunk);
    }
  });
  return hash.digest("hex");
}
