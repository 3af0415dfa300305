import { createHash } from "node:crypto";
import type { UNet2DConditionModel } from "../../lib/models/unet";
import type { Tensor } from "../../lib/runtime/tensor";

/** MD5 of a tensor's bytes, to compare with another one's: processors without instructions for SHA take twice as long for that. */
export async function tensorHash(tensor: Tensor): Promise<string> {
  return createHash("md5")
    .update(await tensor.bytes())
    .digest("hex");
}

/** Hashes of every parameter of a network, by key. */
export async function weightHashes(
  network: Pick<UNet2DConditionModel, "parameterNames" | "parameter">,
): Promise<Record<string, string>> {
  const names = network.parameterNames();
  const hashes = await Promise.all(names.map((name) => tensorHash(network.parameter(name))));
  return Object.fromEntries(names.map((name, index) => [name, hashes[index]!]));
}
