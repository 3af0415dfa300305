import { createHash } from "node:crypto";

/** SHA-256 over the bytes of every parameter of a UNet, in order. */
export async function hashWeights(unet) {
  const hash = createHash("sha256");
  for (const name of unet.parameterNames()) hash.update(await unet.parameter(name).bytes());
  return hash.digest("hex");
}

export async function hashTensor(tensor) {
  return createHash("sha256")
    .update(await tensor.bytes())
    .digest("hex");
}
