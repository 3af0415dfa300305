import { invalid } from "../check";
import type { CLIPTextModel } from "../models/clip-text";
import type { CLIPTokenizer } from "../text/clip-tokenizer";
import { Tensor } from "../runtime/tensor";
import { scope } from "../runtime/scope";

/** Prompts as the UNet takes them: (B, L, d), one row of L token states for each text. @throws INVALID_ARGUMENT */
export async function encodePrompts(
  tokenizer: CLIPTokenizer,
  encoder: CLIPTextModel,
  prompts: readonly string[],
  device: string,
): Promise<Tensor> {
  if (!Array.isArray(prompts) || prompts.length === 0)
    throw invalid("prompts", "a string or a non-empty list of strings", prompts);
  const rows = tokenizer.encode(prompts);
  return scope(async () => {
    const ids = Tensor.from(rows.flat(), [rows.length, tokenizer.maxLength], { dtype: "int64", device });
    return encoder.forward(ids);
  });
}
