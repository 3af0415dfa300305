import { setImmediate } from "node:timers/promises";
import { invalid, knownKeys } from "../../check";
import { textIdentity } from "../../diffusion/identity";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import { embedTokens, encodeTowers, textsTogether, textTowers } from "../../diffusion/text-encoders";
import { KpopError, throwIfAborted } from "../../errors";
import { choice, integer, single, texts } from "../../options/kinds";
import { complete, type Option, type OptionSet } from "../../options/option";
import { noGrad } from "../../runtime/grad-mode";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import { wholeWords } from "../../text/vocabulary";
import type { PrepareReport } from "../../training/step-report";
import { remembered } from "./neighbour-cache";

const CHOICES = ["nearest", "adversarial", "off"] as const;
/** @inline */
type Choice = (typeof CHOICES)[number];

/** What is kept beside `preserve`, as a user gives it. */
export type Neighbours =
  | Choice
  | {
      /** "nearest": words by their distance alone. "adversarial": of those, what the present weights harm most. */
      readonly choose?: Choice;
      /** How many words. Default 100. */
      readonly count?: number;
      /** Words to choose from. Default the whole words of the checkpoint's tokenizer. */
      readonly words?: readonly string[];
    };

/** `Neighbours`, complete. */
export interface NeighbourSettings {
  readonly choose: Choice;
  readonly count: number;
  readonly words: readonly string[];
}

const MEMBERS = {
  choose: choice<Choice>(
    "nearest",
    CHOICES,
    "words to keep as they are beside --preserve: the nearest, or of those what is harmed most",
  ),
  count: integer(100, "how many of them; without --neighbours, of the nearest", { from: 1 }),
  words: texts([], "words to choose from, one a line; by default the tokenizer's whole words"),
};

/** Where nothing is asked for, what is near is kept. */
const DEFAULT = "nearest";

/** The option of what is kept beside `preserve`. */
export const NEIGHBOURS: Option<NeighbourSettings, Neighbours> = {
  default: DEFAULT,
  help: MEMBERS.choose.help,
  check(name, value, about) {
    if (typeof value === "string")
      return { ...complete(MEMBERS, {}, about), choose: MEMBERS.choose.check(name, value, about) };
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw invalid(name, `${CHOICES.map((word) => `"${word}"`).join(", ")} or an object`, value);
    knownKeys(name, value, Object.keys(MEMBERS));
    return complete(MEMBERS, value as Record<string, unknown>, about, `${name}.`);
  },
  flag: null,
};

/** The same as a command line takes it: a word, a number, and a file whose lines are the words. */
export const NEIGHBOUR_FLAGS = {
  neighbours: { ...MEMBERS.choose, default: DEFAULT, flag: single(CHOICES.join("|"), (typed) => typed) },
  neighbourCount: MEMBERS.count,
  neighbourWords: { ...MEMBERS.words, default: undefined, flag: single("file", (typed) => typed) },
} satisfies OptionSet;

/** The run that words are chosen for. */
export interface Chooser {
  readonly signal?: AbortSignal | undefined;
  readonly onPrepare?: ((report: PrepareReport) => void) | undefined;
  /** Whether what a large vocabulary leads to is kept in the user's cache. Default true. */
  readonly keeps?: boolean;
}

/** Words that the text encoder sees: the 1000 whose token embeddings lie nearest, of a vocabulary that has more. */
const ENCODED = 1000;
/** For each word that is asked for, words that the second of two encoders sees: those nearest by the first, which is several times smaller. */
const SEEN_BY_BOTH = 2;
/** Of fewer words no one is told. */
const REPORTED = 128;
/** Texts tokenized before anything else on the JS thread gets its turn. */
const TOKENIZED = 512;

/**
 * The words that the concepts' removal is likeliest to harm: those nearest to the concepts by the text encoder, the
 * concepts taking turns. What is compared is the cosine between the states of the end tokens, the words' mean taken off; of
 * Stable Diffusion XL, whose states are those of two encoders, the second looks at twice as many words as are asked for.
 *
 * Words of the concepts' names, in the singular or the plural, are none of them.
 * @param job reports of many words' encoding go to its `onPrepare`; what they lead to is kept in the user's cache
 * @returns the nearest first; fewer than `count` where there are not as many
 * @throws INVALID_ARGUMENT where words are given and all are the concepts' own; ABORTED
 */
export async function nearestWords(
  model: StableDiffusion,
  concepts: readonly string[],
  { count, words }: Pick<NeighbourSettings, "count" | "words">,
  job: Chooser = {},
): Promise<readonly string[]> {
  const candidates = await otherWords(model, concepts, words);
  if (candidates.length === 0) {
    if (words.length === 0) return [];
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected neighbours.words to have words other than the concepts' own, but all ${words.length} are theirs; give others, or keep none ("off")`,
    );
  }
  const encoded = Math.max(ENCODED, 2 * count);
  const choose = async (among: readonly string[]): Promise<readonly string[]> => {
    const all = textTowers(model).length;
    const by = (encoders: number) => (prompts: readonly string[]) => endStates(model, encoders, prompts, job);
    const seen = all === 1 ? among : await foremost(concepts, among, SEEN_BY_BOTH * count, by(1));
    return foremost(concepts, seen, count, by(all));
  };
  if (candidates.length <= encoded) return choose(candidates);
  const identity = { model: await textIdentity(model, job.signal), concepts, count, candidates };
  const find = async () => choose(await roughlyNearest(model, concepts, candidates, encoded));
  return remembered(identity, find, job.keeps);
}

/**
 * Words that are none of the concepts' own; of more than `count`, those whose token embeddings lie nearest to theirs.
 * @param given words to choose from; none: the whole words of the checkpoint's tokenizer
 */
export async function candidateWords(
  model: StableDiffusion,
  concepts: readonly string[],
  given: readonly string[],
  count: number,
): Promise<readonly string[]> {
  const candidates = await otherWords(model, concepts, given);
  return candidates.length <= count ? candidates : roughlyNearest(model, concepts, candidates, count);
}

async function otherWords(
  { tokenizer }: StableDiffusion,
  concepts: readonly string[],
  given: readonly string[],
): Promise<string[]> {
  const own = new Set(concepts.flatMap(wordsOf).flatMap((word) => [word, singular(word)]));
  const all = given.length > 0 ? given : await wholeWords(tokenizer);
  return [...new Set(all)].filter(
    (text) => !wordsOf(text).every((word) => own.has(word) || own.has(singular(word))),
  );
}

function roughlyNearest(
  model: StableDiffusion,
  concepts: readonly string[],
  words: readonly string[],
  count: number,
): Promise<readonly string[]> {
  return foremost(concepts, words, count, (some) => lastEmbeddings(model, some));
}

/** Of some words the `count` whose vectors point most in the directions of the concepts', as seen from their mean. */
async function foremost(
  concepts: readonly string[],
  words: readonly string[],
  count: number,
  vectorsOf: (prompts: readonly string[]) => Promise<Tensor>,
): Promise<readonly string[]> {
  const cosines = await noGrad(() =>
    scope(async () => {
      const vectors = await vectorsOf(words); // (m, d)
      const mean = vectors.mean(0, true);
      const ours = unit((await vectorsOf(concepts)).sub(mean)); // (n, d)
      return ours.matmul(unit(vectors.sub(mean)).transpose(0, 1)).data(); // (n, m)
    }),
  );
  const orders = concepts.map((_, concept) => {
    const own = Array.from(cosines.slice(concept * words.length, (concept + 1) * words.length), Number);
    return words.map((_word, index) => index).sort((a, b) => own[b]! - own[a]! || a - b);
  });
  const chosen = new Set<number>();
  for (let place = 0; chosen.size < Math.min(count, words.length); place++)
    for (const order of orders) if (chosen.size < count) chosen.add(order[place]!);
  return [...chosen].map((index) => words[index]!);
}

/** The embedding of each text's last token, (m, d) float32. */
async function lastEmbeddings(model: StableDiffusion, prompts: readonly string[]): Promise<Tensor> {
  const { tokenizer, device } = model;
  const ids: number[] = [];
  for (let first = 0; first < prompts.length; first += TOKENIZED) {
    await setImmediate();
    const rows = tokenizer.encode(prompts.slice(first, first + TOKENIZED), { padding: false });
    ids.push(...rows.map((row) => row.at(-2)!));
  }
  const tensor = Tensor.from(ids, [1, ids.length], { dtype: "int64", device });
  return (await embedTokens(model, tensor)).squeeze(0).to("float32");
}

/**
 * The state of each text's end token, (m, d) float32. What pads a row comes behind it, and encoders are causal.
 * @param encoders how many of the model's text encoders it is of, from the first on
 */
async function endStates(
  model: StableDiffusion,
  encoders: number,
  prompts: readonly string[],
  { signal, onPrepare }: Chooser,
): Promise<Tensor> {
  const { tokenizer, device } = model;
  const parts: Tensor[] = [];
  const start = performance.now();
  const all = tokenizer.encode([...prompts], { padding: false });
  const length = Math.max(...all.map((row) => row.length));
  const together = textsTogether(length);
  for (let first = 0; first < prompts.length; first += together) {
    throwIfAborted(signal);
    const rows = all.slice(first, first + together);
    const ids = rows.flatMap((row) => [
      ...row,
      ...Array<number>(length - row.length).fill(tokenizer.eosTokenId),
    ]);
    const part = await scope(async () => {
      const input = { ids: Tensor.from(ids, [rows.length, length], { dtype: "int64", device }) };
      const { context: states } = await encodeTowers(model, Array(encoders).fill(input)); // (b, l, d)
      const flat = states.reshape([rows.length * length, states.shape[2]!]).to("float32");
      return flat.rows(rows.map((row, index) => index * length + row.length - 1)).settled();
    });
    parts.push(part);
    const done = Math.min(first + together, prompts.length);
    if (prompts.length <= REPORTED) continue;
    const etaSeconds = ((performance.now() - start) / 1000 / done) * (prompts.length - done);
    onPrepare?.({ what: "word", done, total: prompts.length, etaSeconds });
  }
  return Tensor.cat(parts);
}

function unit(vectors: Tensor): Tensor {
  return vectors.div(vectors.square().sum(1, true).sqrt().clamp(1e-12, Infinity));
}

function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
}

function singular(word: string): string {
  return word.replace(/(?<=(?:s|x|z|ch|sh))es$|(?<!s)s$/u, "");
}
