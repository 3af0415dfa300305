import { stat } from "node:fs/promises";
import { join } from "node:path";
import { KpopError } from "../errors";
import { isJsonObject, readJsonObject } from "../files/json-file";
import type { Preprocessing } from "./preprocess";

type Json = Readonly<Record<string, unknown>>;

/** Colours of the pictures that OpenAI trained CLIP on. */
const MEAN = [0.48145466, 0.4578275, 0.40821073];
const STD = [0.26862954, 0.26130258, 0.27577711];
/** Pillow's numbers for its filters. */
const FILTERS: Readonly<Record<number, Preprocessing["interpolation"]>> = { 2: "bilinear", 3: "bicubic" };

/**
 * A CLIP's preprocessing as transformers writes it: preprocessor_config.json, or the image_processor of
 * processor_config.json; OpenAI's at the network's size where neither is there.
 * @throws INVALID_CHECKPOINT, UNSUPPORTED_FORMAT, IO_ERROR
 */
export async function clipPreprocessing(folder: string, imageSize: number): Promise<Preprocessing> {
  const [path, raw] = await readProcessor(folder);
  const on = (step: string): boolean => raw[`do_${step}`] !== false;
  if (!on("rescale") || !on("normalize"))
    throw unsupported(path, "pictures that are not scaled and normalised");
  const crop = on("center_crop") ? side(path, "crop_size", raw["crop_size"] ?? imageSize, "height") : null;
  const resize = on("resize") ? side(path, "size", raw["size"] ?? imageSize, "shortest_edge") : null;
  const interpolation = FILTERS[(raw["resample"] ?? 3) as number];
  if (interpolation === undefined) throw unsupported(path, `resample ${JSON.stringify(raw["resample"])}`);
  const mean = colours(path, "image_mean", raw["image_mean"] ?? MEAN);
  const std = colours(path, "image_std", raw["image_std"] ?? STD);
  return { resize, crop, interpolation, mean, std, margin: "down" };
}

async function readProcessor(folder: string): Promise<[path: string, raw: Json]> {
  const own = join(folder, "preprocessor_config.json");
  if (await exists(own)) return [own, await readJsonObject(own)];
  const shared = join(folder, "processor_config.json");
  const nested = (await exists(shared)) ? (await readJsonObject(shared))["image_processor"] : undefined;
  return [shared, isJsonObject(nested) ? nested : {}];
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null)) !== null;
}

/** A length in pixels: a number, or an object that has it. */
function side(path: string, name: string, value: unknown, field: "shortest_edge" | "height"): number {
  const fields = isJsonObject(value) ? value : { [field]: value };
  const square = field === "height" && fields["height"] !== fields["width"] && isJsonObject(value);
  const length = fields[field];
  if (square || !Number.isSafeInteger(length) || (length as number) <= 0)
    throw unsupported(path, `${name} ${JSON.stringify(value)}`);
  return length as number;
}

function colours(path: string, name: string, value: unknown): number[] {
  if (Array.isArray(value) && value.length === 3 && value.every(Number.isFinite)) return value as number[];
  throw unsupported(path, `${name} ${JSON.stringify(value)}`);
}

function unsupported(path: string, what: string): KpopError {
  return new KpopError("UNSUPPORTED_FORMAT", `${path} asks for ${what}, which is not supported here`);
}
