import { KpopError } from "../errors";
import { invalid } from "../check";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { embedTokens } from "../diffusion/text-encoders";
import { noGrad } from "../runtime/grad-mode";
import { scope } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";

/**
 * The embeddings that the text encoders' tables have for a text's own tokens, without start and end.
 * @returns (m, d) float32
 * @throws INVALID_ARGUMENT when the text has no token
 */
export async function tokenEmbeddings(model: StableDiffusion, name: string, text: unknown): Promise<Tensor> {
  const { tokenizer, device } = model;
  if (typeof text !== "string") throw invalid(name, "a text", text);
  const ids = tokenizer.encode(text, { padding: false, truncation: false })[0]!.slice(1, -1);
  if (ids.length === 0)
    throw new KpopError("INVALID_ARGUMENT", `Expected ${name} to be a text but it is blank`);
  return scope(() =>
    noGrad(async () => {
      const rows = Tensor.from(ids, [1, ids.length], { dtype: "int64", device });
      return (await embedTokens(model, rows)).squeeze(0).to("float32").clone();
    }),
  );
}
