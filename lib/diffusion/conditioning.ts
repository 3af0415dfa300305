import { invalid } from "../check";
import { Tensor } from "../runtime/tensor";
import { scope } from "../runtime/scope";
import type { Condition } from "./condition";
import { checkWords, splicePrompt, type LearnedToken } from "./learned-tokens";
import { encodeTowers, splitWidths, textTowers, type TextReaders, type TextTower, type TowerInput } from "./text-encoders"; // prettier-ignore

/** What prompts are encoded with. */
export interface EncodePromptsOptions {
  /** Learned tokens that prompts may name, checked. Default none. */
  tokens?: readonly LearnedToken[];
  /** Learned words that stand behind every text, before its end: (k, d), or (B, k, d) with some for each. Default none. */
  words?: Tensor | undefined;
  /** Token states that are read of each text; see `ConditionOptions.length`. Default: all L. */
  length?: number | undefined;
  /** Whether to record a graph to the learned embeddings. Default false. */
  grad?: boolean;
}

/**
 * Prompts as predictions are conditioned on them: (B, L, d), one row of L token states for each text, and the pooled texts
 * where the model has those. Where a prompt names a learned token, its n embeddings stand in the place of n tokens; before
 * learned words a text is cut where there is no room. Where a `length` is asked for, rows have that many states at least.
 * @throws INVALID_ARGUMENT
 */
export async function encodePrompts(
  model: TextReaders,
  prompts: readonly string[],
  options: EncodePromptsOptions = {},
): Promise<Condition> {
  if (!Array.isArray(prompts) || prompts.length === 0)
    throw invalid("prompts", "a string or a non-empty list of strings", prompts);
  const { tokens = [], words, length, grad = false } = options;
  if (words !== undefined) checkWords(model, words, prompts.length);
  const states = await scope(async () => {
    const given = tokens.map(({ embeddings }) => embeddings);
    if (words !== undefined) given.push(words.reshape([-1, words.shape.at(-1)!]));
    // By learned embeddings, what each text encoder takes of them.
    const learned = given.map((embeddings) => splitWidths(model, embeddings));
    const inputs: EndedInput[] = [];
    for (const [index, tower] of textTowers(model).entries()) {
      const own = learned.map((each) => each[index]!);
      inputs.push(await towerInput(tower, model.device, prompts, { tokens, words }, own));
    }
    return encodeTowers(model, cutBehind(inputs, length), { grad });
  });
  return { ...states, texts: prompts };
}

/** Texts of which the longest has its end token at `end`. */
interface EndedInput extends TowerInput {
  readonly end: number;
}

/** Without what pads all texts behind the states that are read, and behind their ends, where pooled texts are read. */
function cutBehind(inputs: readonly EndedInput[], length = Infinity): TowerInput[] {
  const kept = Math.max(length, ...inputs.map(({ end }) => end + 1));
  const cut = (rows: Tensor): Tensor => (kept < rows.shape[1]! ? rows.slice(1, 0, kept).contiguous() : rows);
  return inputs.map(({ ids, embeddings }) => ({
    ids: cut(ids),
    ...(embeddings === undefined ? {} : { embeddings: cut(embeddings) }),
  }));
}

/** @param learned embeddings of the tokens, one after the other, and of all words, as this encoder takes them */
async function towerInput(
  { tokenizer, encoder }: TextTower,
  device: string,
  prompts: readonly string[],
  { tokens = [], words }: EncodePromptsOptions,
  learned: readonly Tensor[],
): Promise<EndedInput> {
  const behind = words?.shape.at(-2) ?? 0;
  const first = tokens.reduce((sum, { embeddings }) => sum + embeddings.shape[0]!, 0);
  const step = words?.shape.length === 3 ? behind : 0;
  const rows = prompts.map((prompt: string, row) =>
    splicePrompt(tokenizer, prompt, tokens, { first: first + row * step, count: behind }),
  );
  const end = Math.max(...rows.map(({ ids }) => ids.indexOf(tokenizer.eosTokenId)));
  const length = tokenizer.maxLength;
  const int64 = { dtype: "int64", device } as const;
  const ids = Tensor.from(
    rows.flatMap((row) => row.ids),
    [rows.length, length],
    int64,
  );
  if (rows.every(({ places }) => places.length === 0)) return { ids, end };
  const own = await encoder.embedTokens(ids);
  const [count, width] = [rows.length * length, own.shape[2]!];
  const sources = Array.from({ length: count }, (_, place) => place);
  rows.forEach(({ places }, row) => {
    for (const { position, vector } of places) sources[row * length + position] = count + vector;
  });
  const converted = learned.map((embeddings) => embeddings.to({ dtype: own.dtype, device }));
  const embeddings = Tensor.cat([own.reshape([count, width]), ...converted])
    .indexSelect(0, Tensor.from(sources, [count], int64))
    .reshape([rows.length, length, width]); // (B, L, hidden_size)
  return { ids, embeddings, end };
}
