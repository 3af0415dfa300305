import { KpopError } from "../errors";
import type { CLIPTextModel } from "../models/clip-text";
import type { CLIPTokenizer } from "../text/clip-tokenizer";
import { Tensor } from "../runtime/tensor";
import { scope } from "../runtime/scope";

/** Prompts as the UNet takes them: (B, L, d), one row of L token states for each text. */
export async function encodePrompts(
  tokenizer: CLIPTokenizer,
  encoder: CLIPTextModel,
  prompts: readonly string[],
  device: string,
): Promise<Tensor> {
  if (prompts.length === 0)
    throw new KpopError("INVALID_ARGUMENT", "Expected at least one prompt but received none");
  const rows = tokenizer.encode(prompts);
  return scope(async () => {
    const ids = Tensor.from(rows.flat(), [rows.length, tokenizer.maxLength], { dtype: "int64", device });
    return encoder.forward(ids);
  });
}
