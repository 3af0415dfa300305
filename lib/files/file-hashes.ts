import { stat } from "node:fs/promises";
import { throwIfAborted } from "../errors";
import { sha256File } from "./sha256-file";
import { onDisk } from "./system-error";

/** File systems stamp writes with a clock that may stand still for this long. */
const CLOCK_GRAIN_MS = 2000;

/**
 * SHA-256 of files, remembered while a file stays the same: its length, inode, and the times of its last change. A file
 * that was written within the last two seconds is read each time, because a second write could have the same times.
 */
export class FileHashes {
  readonly #known = new Map<string, { identity: string; sha256: string }>();

  /** @param capacity how many files are remembered; the one not asked for the longest goes first. Default 256
   *  @param read computes the hash of a file's bytes */
  constructor(
    readonly capacity: number = 256,
    private readonly read: typeof sha256File = sha256File,
  ) {}

  /** 64 hexadecimal digits. @throws NOT_FOUND, IO_ERROR, ABORTED */
  async sha256(path: string, signal?: AbortSignal): Promise<string> {
    throwIfAborted(signal);
    const before = await identityOf(path);
    const known = this.#known.get(path);
    this.#known.delete(path);
    if (known !== undefined && known.identity === before.identity) {
      this.#known.set(path, known);
      return known.sha256;
    }
    const sha256 = await this.read(path, signal === undefined ? {} : { signal });
    const after = await identityOf(path);
    const isSettled = before.readAt - before.changedAt > CLOCK_GRAIN_MS;
    if (isSettled && after.identity === before.identity) this.#remember(path, after.identity, sha256);
    return sha256;
  }

  #remember(path: string, identity: string, sha256: string): void {
    this.#known.set(path, { identity, sha256 });
    const oldest = this.#known.keys().next();
    if (this.#known.size > this.capacity && !oldest.done) this.#known.delete(oldest.value);
  }
}

async function identityOf(path: string): Promise<{ identity: string; changedAt: number; readAt: number }> {
  const readAt = Date.now();
  const { dev, ino, size, mtimeNs, ctimeNs } = await onDisk("read", path, () => stat(path, { bigint: true }));
  const latest = mtimeNs > ctimeNs ? mtimeNs : ctimeNs;
  return {
    // The inode's own time too, because the time of the last write can be set by hand.
    identity: [dev, ino, size, mtimeNs, ctimeNs].join(" "),
    changedAt: Number(latest / 1_000_000n),
    readAt,
  };
}
