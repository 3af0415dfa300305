import { createHash, type Hash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { basename, sep } from "node:path";
import { KpopError } from "../errors";
import { COMPONENTS, networksOf, weightFiles, type ComponentName } from "../io/checkpoint-types";
import { contentHash } from "../io/content-hash";
import { withReader } from "../io/location-reader";
import { elementBytes, runtimeDtype } from "../io/safetensors-dtypes";
import { scope } from "../runtime/scope";
import { FileHashes } from "../files/file-hashes";
import type { Tensor } from "../runtime/tensor";
import type { Intervention } from "./interventions/intervention";
import { changedTensors } from "./save-model";
import type { Model } from "./model";

const BYTES_AT_ONCE = 2 ** 21;

/** Every run and every set of pictures asks for the same few files, each of gigabytes. */
const fileHashes = new FileHashes();

/**
 * SHA-256 of every weight file that a model was read from: a checkpoint's by its place there, a delta's as delta/NAME.
 * @throws NOT_FOUND, IO_ERROR, ABORTED
 */
export async function hashInputs(
  { source }: Pick<Model, "source">,
  signal?: AbortSignal,
): Promise<Record<string, string>> {
  const names = new Map(weightFiles(source).map(({ path }) => [path, placeIn(source.path, path)]));
  // A delta is no file of the checkpoint, but tensors come from it.
  for (const [, { tensors }] of networksOf(source))
    for (const { file } of tensors.values()) if (!names.has(file)) names.set(file, `delta/${basename(file)}`);
  const hashes: Record<string, string> = {};
  for (const [path, name] of names) hashes[name] = await fileHashes.sha256(path, signal);
  return hashes;
}

/** Reads what a delta of the model has to know of its base, so that it can be saved when the files are gone. */
export async function rememberBase({ source }: Model, signal?: AbortSignal): Promise<void> {
  for (const [, network] of networksOf(source)) {
    await contentHash(network, signal === undefined ? {} : { signal }).catch((error: unknown) => {
      // The files are gone or others by now: everything but a delta can be saved all the same.
      if (!(error instanceof KpopError) || !["IO_ERROR", "NOT_FOUND"].includes(error.code)) throw error;
    });
  }
}

function placeIn(checkpoint: string, path: string): string {
  return path.startsWith(checkpoint + sep) ? path.slice(checkpoint.length + 1) : basename(path);
}

/**
 * What in-memory weights differ from the source's by: SHA-256 over the changed ones; null where there are none.
 * @param of the networks that are looked at. Default: all
 */
export async function hashChanges(
  model: Model,
  of: readonly ComponentName[] = COMPONENTS,
): Promise<string | null> {
  const hash = createHash("sha256");
  let any = false;
  for (const [component, tensors] of Object.entries(changedTensors(model))) {
    if (!of.includes(component as ComponentName)) continue;
    for (const [name, tensor] of tensors) {
      any = true;
      hash.update(`${component} ${name} ${tensor.dtype}\n`);
      await updateBetweenTurns(hash, await tensor.bytes());
    }
  }
  return any ? hash.digest("hex") : null;
}

/** Hashes at most a few milliseconds at a time, so that the event loop turns meanwhile. */
export async function updateBetweenTurns(hash: Hash, bytes: Uint8Array): Promise<void> {
  for (let start = 0; start < bytes.length; start += BYTES_AT_ONCE) {
    if (start > 0) await setImmediate();
    hash.update(bytes.subarray(start, start + BYTES_AT_ONCE));
  }
}

/** SHA-256 over what interventions hold in tensors, which stay as they are. */
const interventionHashes = new WeakMap<Intervention, string>();

/** Interventions by name, version, settings and the contents of their tensors, as JSON holds it. */
export async function interventionsIdentity(interventions: readonly Intervention[]): Promise<object[]> {
  const found: object[] = [];
  for (const intervention of interventions) {
    const { name, version, settings, tensors } = intervention;
    const sha256 = interventionHashes.get(intervention) ?? (await hashTensors(tensors ?? new Map()));
    if (sha256 !== null) interventionHashes.set(intervention, sha256);
    found.push({ name, version, settings, ...(sha256 === null ? {} : { sha256 }) });
  }
  return found;
}

/** Null of none. */
async function hashTensors(tensors: ReadonlyMap<string, Tensor>): Promise<string | null> {
  if (tensors.size === 0) return null;
  const hash = createHash("sha256");
  for (const [name, tensor] of [...tensors].sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(`${JSON.stringify([name, tensor.dtype, tensor.shape])}\n`);
    await updateBetweenTurns(hash, await tensor.bytes());
  }
  return hash.digest("hex");
}

/**
 * SHA-256 of what a model's UNet holds: the same for the same weights in whatever files, another once they were changed
 * in memory.
 * @throws IO_ERROR, NOT_FOUND, ABORTED
 */
export async function hashUNet(model: Model, signal?: AbortSignal): Promise<string> {
  const stored = await contentHash(model.source.unet, signal === undefined ? {} : { signal });
  const changes = await hashChanges(model);
  return changes === null ? stored : createHash("sha256").update(`${stored} ${changes}`).digest("hex");
}

/** Bytes of a tensor that a fingerprint looks at. */
const HEAD_BYTES = 2 ** 14;

/**
 * SHA-256 over the beginning (16 KiB) of each of a UNet's tensors, as saving would store it: the same for an erased model in
 * memory and for what it was saved as, in any format but a LoRA, loaded in any dtype. Training changes whole tensors, so
 * that this tells models apart as a hash of all bytes does, and reads megabytes in place of gigabytes.
 * @throws IO_ERROR, NOT_FOUND, ABORTED
 */
export async function fingerprintUNet(model: Model, signal?: AbortSignal): Promise<string> {
  const changed = changedTensors(model).unet;
  const hash = createHash("sha256");
  await withReader(signal, async (reader) => {
    for (const [key, location] of [...model.source.unet.tensors].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const { dtype, shape } = location;
      hash.update(`${JSON.stringify([key, dtype, shape])}\n`);
      const bytes = Math.min(location.bytes, HEAD_BYTES);
      const stored = runtimeDtype(dtype);
      const own = stored !== null && changed?.has(key) === true ? model.unet.parameter(key) : undefined;
      if (own === undefined) hash.update(await reader.bytes({ ...location, bytes }));
      else
        hash.update(
          await scope(async () => {
            const head = own
              .detach()
              .reshape([own.size])
              .slice(0, 0, bytes / elementBytes(dtype));
            return (await head.to(stored!).contiguous().bytes()).slice();
          }),
        );
    }
  });
  return hash.digest("hex");
}
