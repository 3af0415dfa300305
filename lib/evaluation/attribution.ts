import { join } from "node:path";
import { invalid, jobOptions, knownKeys, nonEmptyString } from "../check";
import { DRAWING_OPTIONS, GENERATE_OPTIONS, type GenerateStep } from "../diffusion/generate-options";
import { modelIdentity } from "../diffusion/identity";
import type { Intervention, NetworkInput } from "../diffusion/interventions/intervention";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { checkModel, withModel } from "../diffusion/with-model";
import { KpopError, throwIfAborted } from "../errors";
import { writeFileAtomically } from "../files/atomic";
import { formatJson, without } from "../files/json-file";
import { makeFolder } from "../files/make-folder";
import type { Image } from "../io/image";
import { bicubic } from "../nn/bicubic";
import { command, flag, path, texts } from "../options/kinds";
import { complete, type Complete, type Given } from "../options/option";
import { noGrad } from "../runtime/grad-mode";
import { keep, scope, unscoped } from "../runtime/scope";
import type { Tensor } from "../runtime/tensor";
import type { CLIPTokenizer } from "../text/clip-tokenizer";
import { overlay, type HeatMap } from "./heat-map";

/** Name of the result in the folder that `attribution` fills. */
export const ATTRIBUTION_FILE = "attribution.json";

/** Options of `attribution`, as data. */
export const ATTRIBUTION_OPTIONS = Object.freeze({
  /** Words, or several together, of the prompts. Default: each word of each prompt. */
  words: texts([], "word or words of the prompt to look at (default: each); repeatable"),
  /** Whether each head's maps are given, too. Default false. */
  heads: flag(false, "give each head's maps, too"),
  /** Whether the middle block counts, which the paper leaves out for its few places. Default false. */
  middle: flag(false, "count the middle block, too"),
  /** Whether words share each place: a map is divided by the sum over the prompt's tokens. Default false. */
  normalize: flag(false, "let words share each place, by the sum over the prompt's tokens"),
  ...without(DRAWING_OPTIONS, "batchSize"),
  /** Of the noise that each picture starts from. Default 0. */
  seed: { ...GENERATE_OPTIONS.seed, help: "of the noise that each picture starts from" },
  /** Folder for the pictures, the maps over them, and attribution.json. Default: none. */
  directory: path(undefined, "folder for the pictures, the maps over them, and the result"),
  /** The command that this is the work of, kept in attribution.json for reports. Default: none. */
  command: command(),
});

/** What is looked at, and how pictures are drawn. */
export interface AttributionOptions extends Given<typeof ATTRIBUTION_OPTIONS> {
  signal?: AbortSignal;
  onStep?(step: GenerateStep): void;
}

/** How strongly a picture attended to a word. */
export interface WordAttribution {
  word: string;
  /** Places of its tokens among the prompt's, the start token being 0. */
  tokens: number[];
  /** In the size of the latents. */
  map: HeatMap;
  /** The same of each head alone; only where they were asked for. */
  heads?: HeatMap[];
}

/** One picture, and what it attended to. */
export interface Attribution {
  prompt: string;
  seed: number;
  image: Image;
  words: WordAttribution[];
  /** Evaluations of the network that were looked at. */
  evaluations: number;
}

/**
 * DAAM's maps (Tang et al., arXiv 2210.04885): where a picture attended to each word of its prompt while it was drawn.
 *
 * The probabilities of the cross-attention modules, of the conditional half of guidance, are added up over the evaluations;
 * each module's and head's sum is brought to the latents' size (bicubic, nothing below 0), and they are averaged; a word's
 * map is the mean over its tokens, wherever the prompt has it. To be looked at changes no bit of a picture. Interventions
 * and a key are at work as in `generate`.
 * @param model a loaded model, or what `StableDiffusion.load` takes
 * @param prompt one, or several
 * @returns one for each prompt
 * @throws INVALID_ARGUMENT (a word that no prompt has, a prompt without words, heads that differ in number), NOT_FOUND,
 *   OUT_OF_MEMORY, NO_SPACE, IO_ERROR, ABORTED, and for a path what loading it throws
 */
export async function attribution(
  model: StableDiffusion | string,
  prompt: string | readonly string[],
  options: AttributionOptions = {},
): Promise<Attribution[]> {
  knownKeys("the attribution options", options, [...Object.keys(ATTRIBUTION_OPTIONS), "signal", "onStep"]);
  jobOptions(options, "onStep");
  const o = complete(ATTRIBUTION_OPTIONS, without(options, "signal", "onStep"), { concepts: [] });
  const prompts = (typeof prompt === "string" ? [prompt] : [...prompt]).map((one) => nonEmptyString("prompt", one)); // prettier-ignore
  if (prompts.length === 0) throw invalid("prompt", "a string or a non-empty list of strings", prompt);
  checkModel("model", model);
  const { signal } = options;
  throwIfAborted(signal);
  return unscoped(() =>
    withModel(model, signal, async (base) => {
      const wanted = prompts.map((one) => wordsOf(base.tokenizer, one, o.words));
      checkFound(base.tokenizer, prompts, wanted, o.words);
      if (o.directory !== undefined) await makeFolder(o.directory);
      const found: Attribution[] = [];
      for (const [index, one] of prompts.entries())
        found.push(await attributed(base, one, wanted[index]!, o, options));
      if (o.directory !== undefined) await writeResult(o.directory, found, base, o, signal);
      return found;
    }),
  );
}

type Parsed = Complete<typeof ATTRIBUTION_OPTIONS>;
type WordPlaces = Pick<WordAttribution, "word" | "tokens">;

async function attributed(
  base: StableDiffusion,
  prompt: string,
  words: readonly WordPlaces[],
  o: Parsed,
  { signal, onStep }: AttributionOptions,
): Promise<Attribution> {
  const [ids] = base.tokenizer.encode(prompt) as [number[]];
  // Start, text and end.
  const columns = ids.indexOf(base.tokenizer.eosTokenId, 1) + 1;
  using recorder = new AttentionRecorder(base, prompt, columns, o.middle);
  const watched = base.withInterventions([...base.interventions, recorder.intervention]);
  const drawing = Object.entries(without(o, "words", "heads", "middle", "normalize", "directory", "command"));
  const given = Object.fromEntries(drawing.filter(([, value]) => value !== undefined));
  const job = { ...(signal === undefined ? {} : { signal }), ...(onStep === undefined ? {} : { onStep }) };
  const [image] = (await watched.generate(prompt, { ...given, ...job, batchSize: 1 })) as [Image];
  const size = { width: image.width / base.vae.downsampling, height: image.height / base.vae.downsampling };
  const maps = await wordMaps(recorder.sums, words, size, o);
  return { prompt, seed: o.seed, image, words: maps, evaluations: recorder.evaluations };
}

/** Adds up what each cross-attention module gives for a prompt's tokens. */
class AttentionRecorder {
  readonly intervention: Intervention;
  evaluations = 0;
  /** (heads, N, T) float32 by module, in the order of the forward. */
  private readonly held = new Map<string, Tensor>();

  constructor(
    { unet }: StableDiffusion,
    prompt: string,
    private readonly columns: number,
    middle: boolean,
  ) {
    const names = unet.crossAttentionNames().filter((name) => middle || !name.startsWith("mid_block."));
    if (names.length === 0)
      throw new KpopError("INVALID_ARGUMENT", "The network has cross-attention in its middle block alone; ask for that (middle)"); // prettier-ignore
    this.intervention = {
      ...{ name: "attribution", version: 1, settings: {}, prompts: [] },
      taps: ({ texts: asked }: NetworkInput) => {
        const row = asked?.indexOf(prompt) ?? -1;
        // One half of guidance may be evaluated by itself.
        if (row < 0) return {};
        this.evaluations += 1;
        return Object.fromEntries(
          names.map((name) => [`${name}.probabilities`, (given: Tensor) => this.add(name, given, row)]),
        );
      },
    };
  }

  get sums(): Tensor[] {
    return [...this.held.values()];
  }

  [Symbol.dispose](): void {
    for (const tensor of this.held.values()) tensor.dispose();
  }

  /** @param probabilities (B, heads, N, L), behind whose text columns a learned prompt may have its own */
  private add(name: string, probabilities: Tensor, row: number): void {
    const before = this.held.get(name);
    const sum = scope(() => {
      const own = probabilities.slice(0, row, row + 1).squeeze(0).slice(2, 0, this.columns).to("float32"); // prettier-ignore
      return before === undefined ? own.clone() : before.add(own);
    });
    this.held.set(name, keep(sum));
    before?.dispose();
  }
}

/** The maps of words, from the sums of modules. */
async function wordMaps(
  sums: readonly Tensor[],
  words: readonly WordPlaces[],
  size: { width: number; height: number },
  { heads, normalize }: Pick<Parsed, "heads" | "normalize">,
): Promise<WordAttribution[]> {
  const counts = [...new Set(sums.map(({ shape }) => shape[0]!))];
  if (heads && counts.length > 1)
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected modules with the same number of heads but this network's have ${counts.join(", ")}; leave out heads`,
    );
  const all = await mapsOf(sums, size, normalize);
  const each: Float32Array[] = [];
  for (let head = 0; heads && head < counts[0]!; head++) {
    const own = sums.map((sum) => sum.slice(0, head, head + 1));
    each.push(await mapsOf(own, size, normalize));
    for (const tensor of own) tensor.dispose();
  }
  return words.map(({ word, tokens }) => ({
    ...{ word, tokens, map: meanOver(all, tokens, size) },
    ...(heads ? { heads: each.map((maps) => meanOver(maps, tokens, size)) } : {}),
  }));
}

async function mapsOf(
  sums: readonly Tensor[],
  size: { width: number; height: number },
  normalize: boolean,
): Promise<Float32Array> {
  return await noGrad(() =>
    scope(async () => (await aggregate(sums, size, normalize).data()) as Float32Array),
  );
}

/**
 * The mean over all modules and heads, each brought to one size with nothing below 0.
 * @param sums (heads, N, T) float32 of each module, N its places
 * @param normalize whether each place is divided by the sum over the text's tokens, without start and end
 * @returns (T, height, width)
 * @throws INVALID_ARGUMENT where N are no places of such a picture
 */
export function aggregate(
  sums: readonly Tensor[],
  size: { width: number; height: number },
  normalize: boolean,
): Tensor {
  const { width, height } = size;
  let [total, count] = [undefined as Tensor | undefined, 0];
  for (const sum of sums) {
    const [heads, places, columns] = sum.shape as [number, number, number];
    const own = resolution(places, size);
    const maps = sum.permute([0, 2, 1]).reshape([heads * columns, own.height, own.width]);
    const large = bicubic(maps, size).clamp(0, Infinity).reshape([heads, columns, height, width]);
    const added = large.sum(0);
    total = total === undefined ? added : total.add(added);
    count += heads;
  }
  const mean = total!.div(count); // (T, height, width)
  return normalize
    ? mean.div(
        mean
          .slice(0, 1, mean.shape[0]! - 1)
          .sum(0, true)
          .add(1e-6),
      )
    : mean;
}

/** The sides of a module's places: the picture's, halved, rounded up, as often as it takes. */
function resolution(places: number, size: { width: number; height: number }) {
  let { width, height } = size;
  while (width * height > places) [width, height] = [Math.ceil(width / 2), Math.ceil(height / 2)];
  if (width * height === places) return { width, height };
  throw invalid("a module's places", `those of ${size.width} × ${size.height}, halved some times,`, places);
}

function meanOver(
  maps: Float32Array,
  tokens: readonly number[],
  { width, height }: { width: number; height: number },
): HeatMap {
  const area = width * height;
  const data = new Float32Array(area);
  for (const token of tokens)
    for (let place = 0; place < area; place++) data[place]! += maps[token * area + place]! / tokens.length;
  return { width, height, data };
}

/** Ends a word in the vocabulary. */
const WORD_END = "</w>";

/** Words with the places of their tokens: those asked for that the prompt has, or each that has letters or digits. */
function wordsOf(tokenizer: CLIPTokenizer, prompt: string, asked: readonly string[]): WordPlaces[] {
  const [row] = tokenizer.encode(prompt, { padding: false }) as [number[]];
  const ids = row.slice(1, -1);
  const all = asked.length > 0 ? asked : eachWord(tokenizer, prompt, ids);
  return [...new Set(all)].flatMap((word) => {
    const own = tokenizer.encode(word, { padding: false })[0]!.slice(1, -1);
    const isOwn = (first: number): boolean => own.every((id, index) => ids[first + index] === id);
    const starts = ids.map((_, index) => index).filter((index) => own.length > 0 && isOwn(index));
    const tokens = starts.flatMap((start) => own.map((_, index) => start + index + 1));
    return tokens.length === 0 ? [] : [{ word, tokens }];
  });
}

/** @throws INVALID_ARGUMENT on a word that no prompt has, and on a prompt with none */
function checkFound(
  { maxLength }: CLIPTokenizer,
  prompts: readonly string[],
  found: readonly (readonly WordPlaces[])[],
  asked: readonly string[],
): void {
  const lost = asked.find((word) => !found.flat().some((one) => one.word === word));
  const bare = prompts.find((_, index) => found[index]!.length === 0);
  if (lost === undefined && bare === undefined) return;
  const quoted = (some: readonly string[]): string => some.map((one) => JSON.stringify(one)).join(", ");
  const what = asked.length === 0 ? "word" : lost === undefined ? quoted(asked) : quoted([lost]);
  const where = lost === undefined ? [bare!] : prompts;
  throw new KpopError(
    "INVALID_ARGUMENT",
    `There is no ${what} in ${quoted(where)}, among the ${maxLength - 2} tokens that are read of a prompt`,
  );
}

function eachWord(tokenizer: CLIPTokenizer, prompt: string, ids: readonly number[]): string[] {
  const tokens = tokenizer.tokenize(prompt).slice(0, ids.length);
  const words: string[] = [];
  let first = 0;
  for (const [index, token] of tokens.entries()) {
    if (!token.endsWith(WORD_END) && index < tokens.length - 1) continue;
    words.push(tokenizer.decode(ids.slice(first, index + 1)));
    first = index + 1;
  }
  return words.filter((word) => /[\p{L}\p{N}]/u.test(word));
}

/** Writes the pictures, the maps over them, and last what they are. */
async function writeResult(
  directory: string,
  found: readonly Attribution[],
  model: StableDiffusion,
  o: Parsed,
  signal: AbortSignal | undefined,
): Promise<void> {
  const slug = (text: string): string => (text.toLowerCase().match(/[a-z0-9]+/g) ?? ["picture"]).join("-").slice(0, 40); // prettier-ignore
  const pictures = [];
  for (const [index, { prompt, seed, image, words, evaluations }] of found.entries()) {
    const stem = `${index + 1}-${slug(prompt)}-${seed}`;
    const save = async (name: string, picture: Image): Promise<string> => {
      throwIfAborted(signal);
      await picture.save(join(directory, name));
      return name;
    };
    const maps = [];
    for (const [place, { word, tokens, map, heads = [] }] of words.entries()) {
      const name = `${stem}-${place + 1}-${slug(word)}`;
      const files = [];
      for (const [head, own] of heads.entries())
        files.push(await save(`${name}-head-${head + 1}.png`, await overlay(image, own)));
      const file = await save(`${name}.png`, await overlay(image, map));
      maps.push({ word, tokens, file, ...(heads.length === 0 ? {} : { heads: files }) });
    }
    pictures.push({ prompt, seed, evaluations, file: await save(`${stem}.png`, image), words: maps });
  }
  const { weights, changes, interventions } = await modelIdentity(model, signal);
  const { middle, normalize, command: by } = o;
  const about = {
    withKey: o.key !== undefined,
    middle,
    normalize,
    model: { weights, changes, interventions },
  };
  const result = { ...(by === undefined ? {} : { command: by }), ...about, pictures };
  await writeFileAtomically(join(directory, ATTRIBUTION_FILE), formatJson(result));
}
