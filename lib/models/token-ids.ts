import { KpopError } from "../errors";
import { scope } from "../runtime/scope";
import type { Tensor } from "../runtime/tensor";

/**
 * Ids outside of the table would abort a GPU. Those that `Tensor.from` was given are looked at as they came; only of
 * others the device is asked.
 * @throws INVALID_ARGUMENT
 */
export async function checkTokenIds(ids: Tensor, vocabulary: number): Promise<void> {
  if (ids.dtype !== "int64" || ids.size === 0) return; // refused with their shape
  const [lowest, highest] = ids.range ?? (await scope(() => computedRange(ids)));
  if (lowest >= 0 && highest < vocabulary) return;
  throw new KpopError(
    "INVALID_ARGUMENT",
    `Expected input_ids from 0 to ${vocabulary - 1} but received ${lowest} to ${highest}`,
  );
}

async function computedRange(ids: Tensor): Promise<readonly [number, number]> {
  const flat = ids.reshape([-1]);
  return [await flat.amin(0).item(), await flat.amax(0).item()];
}
