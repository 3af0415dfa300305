import { addon } from "./binding";
import { Tensor, type Dtype } from "./tensor";

/** Where a tensor's elements lie in a file. */
export interface MappedPlace {
  /** First byte, counted from the start of the file; a multiple of the element's size. */
  readonly offset: number;
  readonly shape: readonly number[];
  readonly dtype: Dtype;
}

/**
 * Tensors that are pages of a file: read when they are touched, shared with every process that maps the same file, and
 * copied page by page where they are written to, so that the file never changes. None of it is copied now.
 * @param file an open descriptor, which may be closed afterwards
 * @param size bytes that the file has to have
 * @returns null where the system does not map the file, or it has another size
 */
export function mapTensors(file: number, size: number, places: readonly MappedPlace[]): Tensor[] | null {
  const mapped = addon().mapTensors(file, size, places);
  return mapped === null ? null : mapped.map((native) => new Tensor(native));
}
