import { KpopError } from "../errors";
import type { Dtype } from "../runtime/tensor";
import { COMPONENTS } from "./checkpoint-types";
import type {
  ChangedTensors,
  CheckpointSource,
  ComponentName,
  TensorData,
  TensorLocation,
  WeightFile,
} from "./checkpoint-types";
import type { Patch } from "./copy-patched";
import { withReader } from "./location-reader";
import type { LocationReader } from "./location-reader";
import { runtimeDtype } from "./safetensors-dtypes";
import type { WriteEntry } from "./safetensors-writer";

/** A tensor's bytes, and what they are. */
export interface Stored {
  readonly dtype: Dtype;
  readonly bytes: Uint8Array;
}

/** A checkpoint with some tensors changed, as saving sees it. */
export class ChangedSource {
  constructor(
    readonly source: CheckpointSource,
    private readonly changed: ChangedTensors,
    private readonly reader: LocationReader,
  ) {}

  /** What to write over one file of the source: the changed tensors, and those that a delta has put there. */
  patches(file: WeightFile): Patch[] {
    return COMPONENTS.flatMap((component) =>
      [...this.source[component].tensors].flatMap(([key, location]) => {
        const home = location.home ?? location;
        const tensor = this.changed[component]?.get(key);
        if (home.file !== file.path || (tensor === undefined && location.home === undefined)) return [];
        const bytes = () =>
          tensor === undefined ? this.reader.bytes(location) : storedBytes(key, tensor, home);
        return [{ offset: home.offset, length: home.bytes, bytes }];
      }),
    );
  }

  /** One tensor as the source has it. @throws UNSUPPORTED_FORMAT where it is stored in a dtype that tensors do not have */
  async original(component: ComponentName, key: string): Promise<Stored> {
    const location = this.source[component].tensors.get(key)!;
    return { dtype: storedDtype(key, location), bytes: await this.reader.bytes(location) };
  }

  /** One tensor for a file of another layout.
   *  @param as its name there, and the shape that it is stored in */
  entry(component: ComponentName, key: string, as: { name: string; shape: readonly number[] }): WriteEntry {
    const { tensors, extra } = this.source[component];
    const location = tensors.get(key) ?? extra.get(key)!;
    const tensor = this.changed[component]?.get(key);
    const bytes = () =>
      tensor === undefined ? this.reader.chunks(location) : storedBytes(key, tensor, location);
    return { ...as, dtype: location.dtype, bytes };
  }
}

/** Checks the changes, and runs `work` on the changed source with its files kept open as they are used.
 *  @throws INVALID_ARGUMENT when a changed tensor is not one of the source's, or has another shape */
export async function withChanges<T>(
  source: CheckpointSource,
  changed: ChangedTensors,
  signal: AbortSignal | undefined,
  work: (view: ChangedSource) => Promise<T>,
): Promise<T> {
  checkChanged(source, changed);
  return await withReader(signal, (reader) => work(new ChangedSource(source, changed, reader)));
}

function checkChanged(source: CheckpointSource, changed: ChangedTensors): void {
  for (const component of COMPONENTS) {
    for (const [key, { shape }] of changed[component] ?? []) {
      const place = source[component].tensors.get(key);
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
