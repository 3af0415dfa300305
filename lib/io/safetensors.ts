import { filePath, flag, invalid, knownKeys } from "../check";
import { KpopError } from "../errors";
import { Tensor } from "../runtime/tensor";
import { readTensors } from "./checkpoint-tensors";
import type { TensorLocation } from "./checkpoint-types";
import { fileDtype, requireRuntimeDtype, runtimeDtype } from "./safetensors-dtypes";
import type { FileDtype } from "./safetensors-dtypes";
import type { TensorEntry } from "./safetensors-header";
import { SafetensorsReader } from "./safetensors-reader";
import { writeSafetensors } from "./safetensors-writer";

/** How a file is loaded. */
export interface LoadFileOptions {
  /**
   * Whether tensors are pages of the file, read when they are touched, in place of copies: `LoadOptions.mapped` says what
   * follows from it. Default true.
   */
  mapped?: boolean;
}

/** An open file: what it holds, and tensors on demand. Close it, or declare it with `await using`. */
export class SafetensorsFile implements AsyncDisposable {
  /** Tensor names, in the order of their data. */
  readonly names: string[];
  /** Element types as the file spells them: "F32", "F16", … */
  readonly dtypes: ReadonlyMap<string, FileDtype>;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** The free texts of `__metadata__`; an object without a prototype. */
  readonly metadata: Readonly<Record<string, string>>;

  /** @internal */
  constructor(private readonly reader: SafetensorsReader) {
    const { tensors, metadata } = reader.header;
    this.names = [...tensors.keys()];
    this.dtypes = new Map([...tensors].map(([name, { dtype }]) => [name, dtype]));
    this.shapes = new Map([...tensors].map(([name, { shape }]) => [name, shape]));
    this.metadata = Object.assign(
      Object.create(null) as Record<string, string>,
      Object.fromEntries(metadata),
    );
  }

  get path(): string {
    return this.reader.path;
  }

  /** Reads one tensor into host memory, in the file's dtype.
   *  @throws UNSUPPORTED_FORMAT for a dtype that tensors do not have (see `readBytes`); INVALID_ARGUMENT, IO_ERROR */
  async read(name: string): Promise<Tensor> {
    const { dtype, shape } = this.reader.entry(name);
    const runtime = runtimeDtype(dtype);
    if (runtime === null) {
      throw new KpopError(
        "UNSUPPORTED_FORMAT",
        `Tensor ${JSON.stringify(name)} of ${this.path} is ${dtype}, which tensors here cannot hold; readBytes gives its bytes`,
      );
    }
    const tensor = Tensor.empty([...shape], runtime);
    try {
      await this.reader.readInto(name, tensor.hostBytes());
      return tensor;
    } catch (error) {
      tensor.dispose();
      throw error;
    }
  }

  /** The stored bytes of one tensor, little-endian.
   *  @param into where they go; exactly as long as the tensor. Default: new memory.
   *  @throws INVALID_ARGUMENT, IO_ERROR */
  async readBytes(name: string, into?: Uint8Array): Promise<Uint8Array> {
    const target = into ?? new Uint8Array(this.reader.entry(name).bytes);
    await this.reader.readInto(name, target);
    return target;
  }

  async close(): Promise<void> {
    await this.reader.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Opens a file and checks its header; no tensor data is read.
 *  @throws NOT_FOUND, INVALID_SAFETENSORS, IO_ERROR */
export async function open(path: string): Promise<SafetensorsFile> {
  return new SafetensorsFile(await SafetensorsReader.open(filePath("path", path)));
}

/** Every tensor of a file, in host memory.
 *  @throws NOT_FOUND, INVALID_SAFETENSORS, UNSUPPORTED_FORMAT, IO_ERROR */
export async function load(path: string, options: LoadFileOptions = {}): Promise<Map<string, Tensor>> {
  knownKeys("the load options", options, ["mapped"]);
  const { mapped = true } = options;
  flag("mapped", mapped);
  const reader = await SafetensorsReader.open(filePath("path", path));
  const { stamp, header } = reader;
  let pages: ReadonlyMap<TensorEntry, Tensor>;
  try {
    header.tensors.forEach(({ dtype }, key) => requireRuntimeDtype(dtype, key, path));
    pages = mapped ? await reader.map() : new Map();
  } finally {
    await reader.close();
  }
  const tensors = new Map<string, Tensor>();
  const left = new Map<string, TensorLocation>();
  // Not for … of, here and in the header's parser: iterators make garbage, and a model has a thousand tensors.
  header.tensors.forEach((entry, key) => {
    const tensor = pages.get(entry);
    if (tensor !== undefined) tensors.set(key, tensor);
    else left.set(key, { ...entry, file: path, stamp, key, storedShape: entry.shape });
  });
  if (left.size === 0) return tensors;
  try {
    for (const [key, tensor] of await readTensors(left)) tensors.set(key, tensor);
  } catch (error) {
    for (const tensor of tensors.values()) tensor.dispose();
    throw error;
  }
  return new Map([...header.tensors.keys()].map((key) => [key, tensors.get(key)!]));
}

/** Writes tensors to a file, each in its own dtype; the file appears under its name when it is complete.
 *  @throws INVALID_ARGUMENT, NO_SPACE, NOT_FOUND, IO_ERROR */
export async function save(
  path: string,
  tensors: ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>,
  metadata: ReadonlyMap<string, string> | Readonly<Record<string, string>> = {},
): Promise<void> {
  filePath("path", path);
  const texts = pairs("metadata", metadata);
  for (const [key, text] of texts) {
    if (typeof text !== "string") throw invalid(`metadata ${JSON.stringify(key)}`, "a string", text);
  }
  await writeSafetensors(
    path,
    pairs("tensors", tensors).map(([name, tensor]) => {
      if (!(tensor instanceof Tensor)) throw invalid(`tensor ${JSON.stringify(name)}`, "a Tensor", tensor);
      return { name, dtype: fileDtype(tensor.dtype), shape: tensor.shape, bytes: () => tensor.bytes() };
    }),
    new Map(texts),
  );
}

function pairs<T>(name: string, from: ReadonlyMap<string, T> | Readonly<Record<string, T>>): [string, T][] {
  if (typeof from !== "object" || from === null) throw invalid(name, "a Map or an object", from);
  return from instanceof Map
    ? [...(from as ReadonlyMap<string, T>)]
    : Object.entries(from as Record<string, T>);
}
