import { KpopError } from "../errors";
import { Tensor } from "../runtime/tensor";
import type { TensorLocation } from "./checkpoint-types";
import { runtimeDtype } from "./safetensors-dtypes";
import { streamTensors } from "./stream-tensors";
import type { StreamOptions } from "./stream-tensors";

/** Reads many tensors into host memory, in their stored dtype and the network's shape; each file is opened once.
 *  @returns under the keys given, in their order
 *  @throws UNSUPPORTED_FORMAT for a dtype that tensors do not have; NOT_FOUND, IO_ERROR, ABORTED */
export async function readTensors<K>(
  locations: ReadonlyMap<K, TensorLocation>,
  options: StreamOptions = {},
): Promise<Map<K, Tensor>> {
  for (const { key, dtype, file } of locations.values()) {
    if (runtimeDtype(dtype) !== null) continue;
    throw new KpopError(
      "UNSUPPORTED_FORMAT",
      `${key} in ${file} is ${dtype}, which tensors here cannot hold`,
    );
  }
  const read = new Map<K, Tensor>();
  const wanted = [...locations].map(([as, location]) => ({ ...location, as }));
  const allocate = ({ as, shape, dtype }: (typeof wanted)[number]) => {
    const tensor = Tensor.empty(shape, runtimeDtype(dtype)!);
    read.set(as, tensor);
    return tensor.hostBytes();
  };
  try {
    await streamTensors(wanted, allocate, options);
  } catch (error) {
    for (const tensor of read.values()) tensor.dispose();
    throw error;
  }
  return new Map([...locations.keys()].map((as) => [as, read.get(as)!]));
}

/** Reads one tensor. @throws as `readTensors` */
export async function readTensor(location: TensorLocation, options: StreamOptions = {}): Promise<Tensor> {
  return (await readTensors(new Map([[0, location]]), options)).get(0)!;
}
