import { createHash } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { stat } from "node:fs/promises";
import { hashInputs } from "../diffusion/model-hash";
import { KpopError } from "../errors";
import { canonicalJson } from "../files/canonical-json";
import { hubPlace } from "../files/hub-place";
import { bytePairTablesInTurns } from "../io/byte-pair-tables";
import { applyDelta, readDelta } from "../io/checkpoint-delta";
import { readCheckpoint } from "../io/checkpoint-read";
import { toldOf } from "../io/checkpoint-single-file";
import {
  readTokenizer,
  TOKENIZER_FOLDERS,
  tokenizersOf,
  type TokenizerName,
} from "../io/checkpoint-tokenizer";
import { FOLDERS, forcesZeros, networksOf, type CheckpointSource, type Config } from "../io/checkpoint-types";
import { contentHash } from "../io/content-hash";
import { DELTA_FILE } from "../io/file-kinds";
import { localPath } from "../io/local-path";
import { modelPath } from "../io/model-path";
import { readHeader } from "../io/safetensors-reader";
import { parseTokenizer } from "../text/parse-tokenizer";

/** One network of a checkpoint by what it holds. */
export interface NetworkIdentity {
  /** Over key, dtype, shape and bytes of every tensor: the same in whatever files and naming they are stored. */
  sha256: string;
  /** How its tensors are stored: "F16". */
  dtypes: string[];
}

/** What a checkpoint is, whatever files it is stored in. */
export interface CheckpointIdentity {
  /** Last part of its path, or its name on the hub. */
  name: string;
  format: "diffusers" | "single-file" | "delta";
  /** By folder: unet, vae, text_encoder, text_encoder_2. */
  networks: Record<string, NetworkIdentity>;
  /** SHA-256 of what else decides its pictures: the networks' configurations, scheduler, tokenizer, interventions. */
  settings: Record<string, string>;
  /** SHA-256 of its weight files, by their places; of a delta, of it alone. */
  files: Record<string, string>;
}

/** A checkpoint that is certified, or compared with one. */
export interface OpenCheckpoint {
  source: CheckpointSource;
  identity: CheckpointIdentity;
  /** Where kpop-run.json lies. */
  folder: string;
  /** SHA-256 of all weight files that it is read from, a delta's base among them. */
  inputs: Record<string, string>;
}

/** What a checkpoint is read with. */
export interface OpenOptions {
  base?: CheckpointSource | undefined;
  /** What the network predicts, where a single file does not say. */
  prediction?: "epsilon" | "v" | undefined;
  signal?: AbortSignal | undefined;
}

/** Of a configuration, what says who wrote it, and in which dtype its reader is to run. */
const PASSING = /^(?:_(?!class_name$).*|torch_dtype|dtype|transformers_version)$/;

/**
 * Reads what a checkpoint is, which takes reading all of its weights; needs no libtorch.
 * @param given a diffusers folder, a single file, "pocket", the folder or file of a delta, or the name of these on a hub
 * @param options.base what a delta is applied onto
 * @throws INVALID_ARGUMENT on a delta without a base, or a single file of which nobody says what it predicts; what reading
 *   checkpoints throws; ABORTED
 */
export async function openCheckpoint(
  given: string,
  { base, prediction, signal }: OpenOptions = {},
): Promise<OpenCheckpoint> {
  const cancel = signal === undefined ? {} : { signal };
  const path = await localPath(given, { signal });
  const file = await deltaFile(path);
  if (file !== null && base === undefined)
    throw new KpopError(
      "INVALID_ARGUMENT",
      `${path} is a delta, which is a model only with the base that it was made from; give that too`,
    );
  const delta = file === null ? null : await readDelta(file);
  const source =
    delta === null
      ? await readCheckpoint(modelPath(path), toldOf({ prediction }))
      : await applyDelta(base!, delta, cancel);
  const networks: Record<string, NetworkIdentity> = {};
  const settings: Record<string, string> = {};
  for (const [component, { tensors, config }] of networksOf(source)) {
    const dtypes = [...new Set([...tensors.values()].map(({ dtype }) => dtype as string))].sort();
    networks[FOLDERS[component]] = { sha256: await contentHash({ tensors }, cancel), dtypes };
    settings[FOLDERS[component]] = hashOf(lasting(config));
  }
  settings["scheduler"] = hashOf(lasting(source.scheduler));
  for (const which of tokenizersOf(source))
    settings[TOKENIZER_FOLDERS[which]] = await tokenizerHash(source, which);
  if (forcesZeros(source)) settings["empty prompt"] = hashOf("zeros");
  settings["interventions"] = hashOf(await interventionsOf(source, cancel));
  const inputs = await hashInputs({ source }, signal);
  const files = delta === null ? inputs : { [DELTA_FILE]: inputs[`delta/${basename(delta.path)}`]! };
  const place = delta?.path ?? source.path;
  const format = delta === null ? source.format : "delta";
  const folder = format === "diffusers" ? place : dirname(place);
  const name = hubPlace(path)?.repository ?? basename(path);
  return { source, identity: { name, format, networks, settings, files }, folder, inputs };
}

/** Interventions by what they hold, whatever file their tensors lie in. */
async function interventionsOf(
  source: CheckpointSource,
  cancel: { signal?: AbortSignal },
): Promise<object[]> {
  const found: object[] = [];
  for (const { tensors, ...record } of source.interventions ?? [])
    found.push(
      tensors === undefined ? record : { ...record, sha256: await contentHash({ tensors }, cancel) },
    );
  return found;
}

/** What one checkpoint has otherwise than another, in words; empty where they are the same model. */
export function differences(found: CheckpointIdentity, certified: CheckpointIdentity): string[] {
  const words: string[] = [];
  const parts = (of: "networks" | "settings"): string[] => [
    ...new Set([...Object.keys(certified[of]), ...Object.keys(found[of])]),
  ];
  for (const part of parts("networks")) {
    const [own, theirs] = [found.networks[part], certified.networks[part]];
    if (own?.sha256 === theirs?.sha256) continue;
    const [stored, wanted] = [own?.dtypes.join(" and "), theirs?.dtypes.join(" and ")];
    const how =
      stored === wanted ? "" : `, which are stored as ${stored ?? "none"} and not as ${wanted ?? "none"}`;
    words.push(`the weights of the ${part}${how}`);
  }
  for (const part of parts("settings"))
    if (found.settings[part] !== certified.settings[part])
      words.push(part in certified.networks ? `the configuration of the ${part}` : `the ${part}`);
  return words;
}

/** The file of a delta; null where a path is none. */
export async function deltaFile(path: string): Promise<string | null> {
  const folder = (await stat(path).catch(() => null))?.isDirectory() === true;
  const file = folder ? join(path, DELTA_FILE) : path;
  const header = await readHeader(file).catch(() => null);
  return header?.metadata.get("kpop.format") === "delta" ? file : null;
}

function lasting(config: Config): Config {
  return Object.fromEntries(Object.entries(config).filter(([key]) => !PASSING.test(key)));
}

/** The tokenizers that were parsed, by their texts: base and result have the same one. */
const tokenizers = new Map<string, string>();

/** Of what the files say, however they are laid out. */
async function tokenizerHash(source: CheckpointSource, which: TokenizerName): Promise<string> {
  const files = await readTokenizer(source, which);
  const texts = createHash("sha256").update(JSON.stringify(files)).digest("hex");
  const known = tokenizers.get(texts);
  if (known !== undefined) return known;
  await bytePairTablesInTurns(files); // which parsing finds
  const {
    tables: { vocabulary, merges },
    ...rest
  } = parseTokenizer(files);
  const hash = createHash("sha256").update(canonicalJson(rest));
  const tokens = [...vocabulary].sort(([, a], [, b]) => a - b);
  hash.update(`\n${JSON.stringify(tokens)}\n`).update(new Uint8Array(merges.buffer));
  const found = hash.digest("hex");
  tokenizers.set(texts, found);
  return found;
}

function hashOf(value: unknown): string {
  return createHash("sha256").update(canonicalJson(value)).digest("hex");
}
