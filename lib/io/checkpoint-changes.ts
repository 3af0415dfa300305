import { KpopError } from "../errors";
import type { Dtype } from "../runtime/tensor";
import { isUnchanged } from "../files/read-range";
import { networksOf, weightFiles } from "./checkpoint-types";
import type {
  ChangedTensors,
  CheckpointSource,
  ComponentName,
  InMemory,
  TensorData,
  TensorLocation,
  WeightFile,
} from "./checkpoint-types";
import { contentHash } from "./content-hash";
import type { Patch } from "./copy-patched";
import { withReader } from "./location-reader";
import type { LocationReader } from "./location-reader";
import { runtimeDtype } from "./safetensors-dtypes";
import type { WriteEntry } from "./safetensors-writer";
import { transposed } from "./transpose";

/** A tensor's bytes, and what they are. */
export interface Stored {
  readonly dtype: Dtype;
  readonly bytes: Uint8Array;
}

/** What `withChanges` may do. */
export interface ChangesOptions {
  memory?: InMemory;
  signal?: AbortSignal;
}

/**
 * A checkpoint with some tensors changed, as saving sees it. Tensors that did not change have the source's bytes, and
 * memory's where the source's file is lost: gone, or no longer what was read.
 */
export class ChangedSource {
  /** Files whose tensors came from memory. */
  readonly replaced = new Set<string>();
  /** What was in lost files and is not in memory. */
  readonly leftOut = new Set<string>();
  /** Whether tensors came from memory in a lower precision than the source's. */
  rounded = false;

  /** @param lost absolute paths; none unless there is `memory` */
  constructor(
    readonly source: CheckpointSource,
    private readonly changed: ChangedTensors,
    private readonly reader: LocationReader,
    private readonly lost: ReadonlySet<string>,
    private readonly memory?: InMemory,
  ) {}

  /** Whether a file cannot be copied any more. */
  isLost(path: string): boolean {
    return this.lost.has(path);
  }

  /** Notes what could not be saved. */
  leaveOut(...names: readonly string[]): void {
    for (const name of names) this.leftOut.add(name);
  }

  /** What to write over one file of the source: the changed tensors, and those that a delta has put there. */
  patches(file: WeightFile): Patch[] {
    return this.tensorsOf(file).flatMap(({ component, key, location, home }) => {
      if (location.home === undefined && this.changed[component]?.has(key) !== true) return [];
      const bytes = () => this.stored(component, key, location, home);
      return [{ offset: home.offset, length: home.bytes, bytes }];
    });
  }

  /** All of a lost file's tensors, under their names there, but those that are not in memory. */
  rebuilt(file: WeightFile): WriteEntry[] {
    const parts = new Map<string, ReturnType<ChangedSource["tensorsOf"]>>();
    for (const part of this.tensorsOf(file))
      parts.set(part.home.key, [...(parts.get(part.home.key) ?? []), part]);
    const entries = [...parts].map(([name, own]): WriteEntry => {
      const { dtype, shape } = file.header.tensors.get(name)!;
      const inOrder = own.sort((a, b) => a.home.offset - b.home.offset);
      const bytes = async () =>
        Buffer.concat(
          await Promise.all(
            inOrder.map(({ component, key, location, home }) => this.stored(component, key, location, home)),
          ),
        );
      return { name, dtype, shape, bytes };
    });
    this.leaveOut(...[...file.header.tensors.keys()].filter((name) => !parts.has(name)));
    return entries;
  }

  /** Names of the tensors that a saved copy of the file holds. */
  keys(file: WeightFile): string[] {
    return this.isLost(file.path)
      ? this.rebuilt(file).map(({ name }) => name)
      : [...file.header.tensors.keys()];
  }

  /** Tensors that no network uses, where they can still be read. */
  extra(component: ComponentName): [key: string, location: TensorLocation][] {
    const all = [...this.source[component]!.extra];
    this.leaveOut(...all.filter(([, { file }]) => this.isLost(file)).map(([key]) => key));
    return all.filter(([, { file }]) => !this.isLost(file));
  }

  /** One tensor as the source has it. @throws UNSUPPORTED_FORMAT where it is stored in a dtype that tensors do not have,
   *  or its file is lost */
  async original(component: ComponentName, key: string): Promise<Stored> {
    const location = this.source[component]!.tensors.get(key)!;
    if (this.isLost(location.file)) {
      throw new KpopError(
        "UNSUPPORTED_FORMAT",
        `A LoRA is the difference from the weights that were loaded, and ${location.file} no longer holds them: it has changed or is gone since; use the format "delta"`,
      );
    }
    return { dtype: storedDtype(key, location), bytes: await this.reader.bytes(location) };
  }

  /** `contentHash` of one of the source's networks. @throws IO_ERROR where it is not known yet and a file is lost */
  async contentHash(component: ComponentName, options: { signal?: AbortSignal }): Promise<string> {
    const { tensors } = this.source[component]!;
    return await contentHash({ tensors }, options).catch((cause: unknown) => {
      const file = [...tensors.values()].map((location) => location.file).find((path) => this.isLost(path));
      if (file === undefined) throw cause;
      throw new KpopError(
        "IO_ERROR",
        `A delta names the model that it applies onto, and ${file} has changed or is gone since it was loaded; use the format "diffusers" or "single-file"`,
        { cause },
      );
    });
  }

  /** One tensor for a file of another layout.
   *  @param as its name there, and the shape that it is stored in */
  entry(component: ComponentName, key: string, as: { name: string; shape: readonly number[] }): WriteEntry {
    const { tensors, extra } = this.source[component]!;
    const location = tensors.get(key) ?? extra.get(key)!;
    return { ...as, dtype: location.dtype, bytes: () => this.content(component, key, location, location) };
  }

  private tensorsOf(
    file: WeightFile,
  ): { component: ComponentName; key: string; location: TensorLocation; home: TensorLocation }[] {
    return networksOf(this.source).flatMap(([component, { tensors }]) =>
      [...tensors].flatMap(([key, location]) => {
        const home = location.home ?? location;
        return home.file === file.path ? [{ component, key, location, home }] : [];
      }),
    );
  }

  /** A tensor's bytes as its place in the source has them. */
  private async stored(
    component: ComponentName,
    key: string,
    location: TensorLocation,
    home: TensorLocation,
  ): Promise<Uint8Array> {
    const content = this.content(component, key, location, home);
    const bytes = content instanceof Promise ? await content : await this.reader.bytes(location);
    return home.transposed === true ? transposed(bytes, home.shape, home.dtype) : bytes;
  }

  /** As the network takes it. @param place what the tensor is stored as */
  private content(
    component: ComponentName,
    key: string,
    location: TensorLocation,
    place: TensorLocation,
  ): Promise<Uint8Array> | AsyncIterable<Uint8Array> {
    const tensor = this.changed[component]?.get(key);
    if (tensor !== undefined) return storedBytes(key, tensor, place);
    if (!this.isLost(location.file) || this.memory === undefined) return this.reader.chunks(location);
    const held = this.memory(component, key);
    this.replaced.add(location.file);
    this.rounded ||= !["float32", "float64", storedDtype(key, place)].includes(held.dtype);
    return storedBytes(key, held, place);
  }
}

/** Checks the changes, and runs `work` on the changed source with its files kept open as they are used. Files of the
 *  source that have changed since they were read, before the work or during it, are replaced by memory where it is given.
 *  @throws INVALID_ARGUMENT when a changed tensor is not one of the source's, or has another shape */
export async function withChanges<T>(
  source: CheckpointSource,
  changed: ChangedTensors,
  { memory, signal }: ChangesOptions,
  work: (view: ChangedSource) => Promise<T>,
): Promise<T> {
  checkChanged(source, changed);
  const look = () => (memory === undefined ? Promise.resolve(new Set<string>()) : lostFiles(source));
  for (let lost = await look(); ;) {
    try {
      return await withReader(signal, async (reader) => {
        const view = new ChangedSource(source, changed, reader, lost, memory);
        const result = await work(view);
        warn(view);
        return result;
      });
    } catch (error) {
      const now = await look();
      if (now.size <= lost.size) throw error;
      lost = now;
    }
  }
}

async function lostFiles(source: CheckpointSource): Promise<Set<string>> {
  const stamps = new Map(weightFiles(source).map(({ path, stamp }) => [path, stamp]));
  for (const [, { tensors }] of networksOf(source))
    for (const { file, stamp } of tensors.values()) stamps.set(file, stamp);
  const lost = new Set<string>();
  for (const [path, stamp] of stamps) if (!(await isUnchanged(path, stamp))) lost.add(path);
  return lost;
}

/** Says where a save was not the source's bytes. */
function warn({ replaced, leftOut, rounded, source }: ChangedSource): void {
  if (replaced.size === 0 && leftOut.size === 0) return;
  const sentences: string[] = [];
  if (replaced.size > 0) {
    const rounding = rounded ? ", in the precision that they were loaded in" : "";
    sentences.push(
      `${[...replaced].join(", ")}: changed or gone since the model was loaded, so its weights were saved from memory${rounding}`,
    );
  }
  const names = [...leftOut];
  if (names.length > 0) {
    const first = names.slice(0, 5).join(", ");
    sentences.push(
      `Left out, because it can no longer be read from ${source.path}: ${first}${names.length > 5 ? ", …" : ""}`,
    );
  }
  process.emitWarning(sentences.join(". "), { code: "KPOP_SAVED_FROM_MEMORY" });
}

function checkChanged(source: CheckpointSource, changed: ChangedTensors): void {
  for (const [component, { tensors }] of networksOf(source)) {
    for (const [key, { shape }] of changed[component] ?? []) {
      const place = tensors.get(key);
      if (place === undefined) {
        throw new KpopError(
          "INVALID_ARGUMENT",
          `The ${component} of ${source.path} has no tensor ${key} to change`,
        );
      }
      if (place.shape.join() === shape.join()) continue;
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected ${component} tensor ${key} to have shape [${place.shape.join(", ")}] but received [${shape.join(", ")}]`,
      );
    }
  }
}

/** A changed tensor's bytes in the dtype that the source stores it in. */
async function storedBytes(key: string, tensor: TensorData, place: TensorLocation): Promise<Uint8Array> {
  const dtype = storedDtype(key, place);
  const converted = tensor.dtype === dtype ? tensor : tensor.to(dtype);
  try {
    const bytes = await converted.bytes();
    if (bytes.length === place.bytes) return bytes;
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected ${place.bytes} bytes for ${key} but received ${bytes.length}`,
    );
  } finally {
    if (converted !== tensor) converted.dispose();
  }
}

function storedDtype(key: string, { dtype }: TensorLocation): Dtype {
  const found = runtimeDtype(dtype);
  if (found !== null) return found;
  throw new KpopError("UNSUPPORTED_FORMAT", `${key} is stored as ${dtype}; it cannot be changed`);
}
