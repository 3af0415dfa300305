import { invalid } from "../check";
import type { CLIPTextModel } from "../models/clip-text";
import type { CLIPTokenizer } from "../text/clip-tokenizer";
import { Tensor } from "../runtime/tensor";
import { scope } from "../runtime/scope";
import { checkWords, splicePrompt, type LearnedToken } from "./learned-tokens";

/** What prompts are encoded with. */
export interface EncodePromptsOptions {
  /** Learned tokens that prompts may name, checked. Default none. */
  tokens?: readonly LearnedToken[];
  /** Learned words that stand behind every text, before its end: (k, d), or (B, k, d) with some for each. Default none. */
  words?: Tensor | undefined;
  /** Whether to record a graph to the learned embeddings. Default false. */
  grad?: boolean;
}

/**
 * Prompts as the UNet takes them: (B, L, d), one row of L token states for each text. Where a prompt names a learned
 * token, its n embeddings stand in the place of n tokens; before learned words a text is cut where there is no room.
 * @throws INVALID_ARGUMENT
 */
export async function encodePrompts(
  tokenizer: CLIPTokenizer,
  encoder: CLIPTextModel,
  prompts: readonly string[],
  device: string,
  options: EncodePromptsOptions = {},
): Promise<Tensor> {
  if (!Array.isArray(prompts) || prompts.length === 0)
    throw invalid("prompts", "a string or a non-empty list of strings", prompts);
  const { tokens = [], words, grad = false } = options;
  if (words !== undefined) checkWords(tokenizer, encoder, words, prompts.length);
  const behind = words?.shape.at(-2) ?? 0;
  const first = tokens.reduce((sum, { embeddings }) => sum + embeddings.shape[0]!, 0);
  const step = words?.shape.length === 3 ? behind : 0;
  const rows = prompts.map((prompt: string, row) =>
    splicePrompt(tokenizer, prompt, tokens, { first: first + row * step, count: behind }),
  );
  const length = tokenizer.maxLength;
  return scope(async () => {
    const int64 = { dtype: "int64", device } as const;
    const ids = Tensor.from(
      rows.flatMap((row) => row.ids),
      [rows.length, length],
      int64,
    );
    if (rows.every(({ places }) => places.length === 0)) return encoder.forward(ids);
    const own = await encoder.embedTokens(ids);
    const [count, width] = [rows.length * length, own.shape[2]!];
    const given = tokens.map(({ embeddings }) => embeddings);
    if (words !== undefined) given.push(words.reshape([-1, width]));
    const learned = given.map((embeddings) => embeddings.to({ dtype: own.dtype, device }));
    const sources = Array.from({ length: count }, (_, place) => place);
    rows.forEach(({ places }, row) => {
      for (const { position, vector } of places) sources[row * length + position] = count + vector;
    });
    const embeddings = Tensor.cat([own.reshape([count, width]), ...learned])
      .indexSelect(0, Tensor.from(sources, [count], int64))
      .reshape([rows.length, length, width]); // (B, L, d)
    return encoder.forward(ids, { embeddings, grad });
  });
}
