import { createHash, type Hash } from "node:crypto";
import { constants, open, rename, rm, type FileHandle } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { KpopError, throwIfAborted } from "../errors";
import { onDisk } from "../files/system-error";

/** A file of a repository. */
export interface RemoteFile {
  /** In the repository. */
  readonly path: string;
  readonly url: string;
  readonly size: number;
  /** What its content has to have: SHA-256 of a large file's (LFS), else the SHA-1 that git gives it. */
  readonly hash: string;
}

export interface TransferOptions {
  fetch: typeof fetch;
  signal?: AbortSignal | undefined;
  /** Bytes of the file that are there. */
  onBytes?: ((bytes: number) => void) | undefined;
}

/** Attempts in a row that bring nothing, before it is given up. */
const ATTEMPTS = 5;
const FIRST_PAUSE_MS = 250;
const CHUNK = 4 * 2 ** 20;

/**
 * Downloads a file to `target`, where it appears whole, its size and hash checked, or not at all. What comes before the
 * connection breaks off, or the work is cancelled, stays beside it, and is gone on from: after a pause, or the next time.
 * @throws NETWORK_ERROR, IO_ERROR (a wrong hash), NO_SPACE, ABORTED; what `fetch` throws
 */
export async function transfer(file: RemoteFile, target: string, options: TransferOptions): Promise<void> {
  const partial = `${target}.kpop.incomplete`;
  await onDisk("write", partial, async () => {
    // In a cache that others write to as well, a link there would lead the download over any file of ours.
    const handle = await open(partial, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o666);
    try {
      const download = new Download(file, handle, options);
      const found = await download.readStart();
      await download.finish();
      if (found > 0 && !download.isRight()) {
        // What was there may be of a crash; all of it again has to do.
        await download.restart();
        await download.finish();
      }
      if (!download.isRight()) {
        await rm(partial, { force: true });
        throw new KpopError(
          "IO_ERROR",
          `${file.path} has arrived with another hash than the repository says (${file.hash}): it was changed or damaged on the way; try again, and if it stays so, look at HF_ENDPOINT`,
        );
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(partial, target);
  });
}

class Download {
  private hash: Hash;
  private bytes = 0;

  constructor(
    private readonly file: RemoteFile,
    private readonly handle: FileHandle,
    private readonly options: TransferOptions,
  ) {
    this.hash = this.newHash();
  }

  /** Hashes what an earlier download left. @returns its bytes */
  async readStart(): Promise<number> {
    const { size } = await this.handle.stat();
    if (size > this.file.size) await this.restart();
    const buffer = Buffer.alloc(CHUNK);
    for (;;) {
      throwIfAborted(this.options.signal);
      const { bytesRead } = await this.handle.read(buffer, 0, CHUNK, this.bytes);
      if (bytesRead === 0) break;
      this.take(buffer.subarray(0, bytesRead));
    }
    return this.bytes;
  }

  async restart(): Promise<void> {
    await this.handle.truncate(0);
    this.hash = this.newHash();
    this.bytes = 0;
    this.options.onBytes?.(0);
  }

  isRight(): boolean {
    return this.hash.copy().digest("hex") === this.file.hash;
  }

  /** Receives the rest, with new attempts where the connection breaks off. */
  async finish(): Promise<void> {
    const { signal } = this.options;
    for (let fruitless = 0; this.bytes < this.file.size;) {
      const before = this.bytes;
      const failure = await this.receive().then(
        () => this.brokenOff(),
        (error: unknown) => {
          throwIfAborted(signal);
          if (error instanceof KpopError && error.code === "NETWORK_ERROR") return error;
          throw error;
        },
      );
      if (this.bytes === this.file.size) return;
      fruitless = this.bytes > before ? 1 : fruitless + 1;
      if (fruitless >= ATTEMPTS) throw failure;
      await sleep(FIRST_PAUSE_MS * 2 ** (fruitless - 1), undefined, signal && { signal }).catch(() =>
        throwIfAborted(signal),
      );
    }
  }

  private async receive(): Promise<void> {
    const { url, size } = this.file;
    const range = this.bytes === 0 ? {} : { range: `bytes=${this.bytes}-` };
    // Packed on the way, a range would be one of other bytes.
    const response = await this.options.fetch(url, { headers: { "accept-encoding": "identity", ...range } });
    const from = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1];
    if (this.bytes > 0 && (response.status !== 206 || Number(from) !== this.bytes)) {
      if (response.status === 206) throw this.brokenOff();
      await this.restart();
    }
    const body: ReadableStream<Uint8Array> | null = response.body;
    const reader = body?.getReader();
    if (reader === undefined) return;
    try {
      for (;;) {
        // Only what fails here is the connection's; the disk and listeners have errors of their own.
        const { done, value: data } = await reader.read().catch((cause: unknown) => {
          throw this.brokenOff(cause);
        });
        if (done) return;
        if (this.bytes + data.length > size)
          throw new KpopError(
            "IO_ERROR",
            `${this.file.path} is longer than the ${size} bytes that the repository says`,
          );
        for (let written = 0; written < data.length;) {
          const at = this.bytes + written;
          written += (await this.handle.write(data, written, data.length - written, at)).bytesWritten;
        }
        this.take(data);
      }
    } finally {
      await reader.cancel().catch(() => undefined);
    }
  }

  private take(data: Uint8Array): void {
    this.hash.update(data);
    this.bytes += data.length;
    this.options.onBytes?.(this.bytes);
  }

  private brokenOff(cause?: unknown): KpopError {
    return new KpopError(
      "NETWORK_ERROR",
      `The download of ${this.file.path} broke off after ${this.bytes} of ${this.file.size} bytes; the same call goes on from there`,
      { cause },
    );
  }

  private newHash(): Hash {
    const { hash, size } = this.file;
    return hash.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
  }
}
