import { createHash } from "node:crypto";
import { throwIfAborted } from "../errors";
import type { ComponentSource } from "./checkpoint-types";
import { withReader } from "./location-reader";

/** A network's tensors are what they were when their headers were read, so their hash stays. */
const known = new WeakMap<ComponentSource["tensors"], string>();

/** SHA-256 over what a network's tensors hold (key, dtype, shape and bytes, by key), as 64 hexadecimal digits. The
 *  same for the same weights whatever files and naming they are stored in. Read once: after that the files may go.
 *  @throws IO_ERROR, NOT_FOUND, ABORTED */
export async function contentHash(
  { tensors }: Pick<ComponentSource, "tensors">,
  options: { signal?: AbortSignal } = {},
): Promise<string> {
  throwIfAborted(options.signal);
  const found = known.get(tensors);
  if (found !== undefined) return found;
  const hash = createHash("sha256");
  await withReader(options.signal, async (reader) => {
    for (const [key, location] of [...tensors].sort(([a], [b]) => (a < b ? -1 : 1))) {
      hash.update(`${JSON.stringify([key, location.dtype, location.shape])}\n`);
      for await (const chunk of reader.chunks(location)) hash.update(chunk);
    }
  });
  const digest = hash.digest("hex");
  known.set(tensors, digest);
  return digest;
}
