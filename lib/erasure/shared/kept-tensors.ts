import { stat } from "node:fs/promises";
import { join } from "node:path";
import { KpopError, throwIfAborted } from "../../errors";
import { makeFolder } from "../../files/make-folder";
import * as safetensors from "../../io/safetensors";
import { scope } from "../../runtime/scope";
import type { Tensor } from "../../runtime/tensor";
import type { Job } from "../../training/job";

/** How tensors that are kept are made. */
export interface Making<I> {
  /** What one is made of, in the singular, for reports. */
  readonly what: string;
  /** Of the files, and the tensor's name in them. */
  readonly format: string;
  readonly name: string;
  /** How many are made at once. */
  readonly together: number;
  readonly folder: string;
  fileName(item: I): string;
  make(items: readonly I[]): Promise<readonly Tensor[]>;
}

/**
 * A tensor for each item, made, or found where it was kept; each has a file of its own.
 * @throws NO_SPACE, IO_ERROR, OUT_OF_MEMORY, ABORTED; what was made until then stays
 */
export async function keptTensors<I>(
  job: Pick<Job, "signal" | "prepared">,
  items: readonly I[],
  making: Making<I>,
): Promise<Tensor[]> {
  const { what, format, name, together, folder } = making;
  await makeFolder(folder);
  const missing = await missingItems(items, making);
  const started = performance.now();
  const found = items.length - missing.length;
  for (let first = 0; first < missing.length; first += together) {
    const some = missing.slice(first, first + together);
    throwIfAborted(job.signal);
    await scope(async () => {
      for (const [index, tensor] of (await making.make(some)).entries())
        await safetensors.save(pathOf(some[index]!, making), { [name]: tensor }, { format });
    });
    await job.prepared(what, found + first + some.length, items.length, started);
  }
  const read: Tensor[] = [];
  for (const item of items) read.push(await readTensor(pathOf(item, making), name));
  return read;
}

/** Those that are not there. */
export async function missingItems<I>(items: readonly I[], making: Making<I>): Promise<I[]> {
  const missing: I[] = [];
  for (const item of items)
    if ((await stat(pathOf(item, making)).catch(() => null)) === null) missing.push(item);
  return missing;
}

function pathOf<I>(item: I, { folder, fileName }: Making<I>): string {
  return join(folder, fileName(item));
}

async function readTensor(path: string, name: string): Promise<Tensor> {
  const found = (await safetensors.load(path)).get(name);
  if (found !== undefined) return found;
  throw new KpopError("INVALID_CHECKPOINT", `${path} is no file of a module's ${name}: remove it`);
}
