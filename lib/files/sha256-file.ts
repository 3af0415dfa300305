import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { throwIfAborted } from "../errors";
import { onDisk } from "./system-error";

const CHUNK = 4 * 2 ** 20;

/** SHA-256 of a file's bytes as 64 hexadecimal digits, read in chunks of 4 MiB.
 *  @param options.prefix bytes that are hashed before them; default none
 *  @throws NOT_FOUND, IO_ERROR, ABORTED */
export async function sha256File(
  path: string,
  options: { signal?: AbortSignal; prefix?: Uint8Array } = {},
): Promise<string> {
  return await onDisk("read", path, async () => {
    const file = await open(path, "r");
    try {
      const hash = createHash("sha256").update(options.prefix ?? new Uint8Array());
      const buffer = new Uint8Array(CHUNK);
      for (;;) {
        throwIfAborted(options.signal);
        const { bytesRead } = await file.read(buffer, 0, CHUNK, null);
        if (bytesRead === 0) return hash.digest("hex");
        hash.update(bytesRead === CHUNK ? buffer : buffer.subarray(0, bytesRead));
      }
    } finally {
      await file.close();
    }
  });
}
