import { stat } from "node:fs/promises";
import { join } from "node:path";
import { integer, invalid, nonEmptyString } from "../check";
import { KpopError } from "../errors";
import { isJsonObject, readJsonObject, readText } from "../files/json-file";
import * as safetensors from "../io/safetensors";
import { number, readConfig, text, type FieldRule } from "../models/config";
import type { ResNetConfig } from "../models/resnet";
import { IMAGENET_COLOURS, type Preprocessing } from "./preprocess";
import { INTERPOLATIONS, type Interpolation } from "../io/resample";

/** Names of all outputs in order, or names with the indices of their outputs. */
export type ClassList = readonly string[] | Readonly<Record<string, number>>;

/** What a classifier's files say, before any weight is read. */
export interface ClassifierDescription {
  readonly config: Readonly<Record<keyof ResNetConfig, unknown>>;
  /** Path of the safetensors file. */
  readonly weights: string;
  /** In lower case, with the outputs. */
  readonly classes: ReadonlyMap<string, number>;
  readonly preprocessing: Preprocessing;
}

/** The ten classes of Imagenette and their places among ImageNet's thousand. */
export const IMAGENETTE: Readonly<Record<string, number>> = Object.freeze({
  "cassette player": 482,
  "chain saw": 491,
  church: 497,
  "gas pump": 571,
  tench: 0,
  "garbage truck": 569,
  "english springer": 217,
  "golf ball": 574,
  parachute: 701,
  "french horn": 566,
});

/** Blocks of each stage, by depth. Those up to 34 have two convolutions, the others three. */
const STAGES: Readonly<Record<number, readonly number[]>> = {
  18: [2, 2, 2, 2],
  34: [3, 4, 6, 3],
  50: [3, 4, 6, 3],
  101: [3, 4, 23, 3],
  152: [3, 8, 36, 3],
};

const lengthOrNone: FieldRule = {
  kind: "read",
  accept: (value) => Number.isSafeInteger(value) && (value as number) > 0,
  expected: "a positive integer or null",
};
const colours: FieldRule = {
  kind: "read",
  accept: (value) => Array.isArray(value) && value.length === 3 && value.every(Number.isFinite),
  expected: "a list of three numbers",
};
const anything: FieldRule = { kind: "read", accept: () => true, expected: "anything" };

/** A folder with config.json and model.safetensors. @throws NOT_FOUND, INVALID_CHECKPOINT, UNSUPPORTED_MODEL, IO_ERROR */
export async function describeFolder(folder: string): Promise<ClassifierDescription> {
  const path = join(folder, "config.json");
  const raw = await readJsonObject(path);
  const { mean, std } = IMAGENET_COLOURS;
  const defaults = {
    depth: 18,
    width: 64,
    stem: "imagenet",
    classes: [] as unknown,
    resize: null as number | null,
    crop: null as number | null,
    interpolation: "bilinear" as Interpolation,
    mean,
    std,
  };
  const { depth, width, stem, classes, ...preprocessing } = readConfig(path, raw, defaults, {
    depth: number,
    width: number,
    stem: text("imagenet", "small"),
    classes: anything,
    num_classes: { kind: "ignored" },
    resize: lengthOrNone,
    crop: lengthOrNone,
    interpolation: text(...INTERPOLATIONS),
    mean: colours,
    std: colours,
  });
  if (!Array.isArray(classes) || classes.length === 0 || !classes.every((name) => typeof name === "string"))
    throw new KpopError(
      "INVALID_CHECKPOINT",
      `Expected "classes" in ${path} to be a non-empty list of names`,
    );
  return {
    config: { depth, width, stem, num_classes: classes.length },
    weights: join(folder, "model.safetensors"),
    classes: outputsByName(classes, classes.length, path),
    preprocessing,
  };
}

/**
 * A bare file with torchvision's keys.
 * @param classes its outputs; without it the JSON file beside, or Imagenette's places for a thousand outputs
 * @throws INVALID_ARGUMENT, NOT_FOUND, INVALID_CHECKPOINT, INVALID_SAFETENSORS, IO_ERROR
 */
export async function describeFile(path: string, classes?: ClassList): Promise<ClassifierDescription> {
  const config = await architectureOf(path);
  const outputs = config.num_classes;
  const beside = path.replace(/\.safetensors$/, "") + ".json";
  const [list, origin] =
    classes !== undefined
      ? [classes, "classes"]
      : ((await readClassList(beside)) ??
        (outputs === 1000 ? [IMAGENETTE, "Imagenette"] : null) ??
        missing(path, outputs, beside));
  // torchvision's default weights: V1 for the shallow ones, V2, resized less, from resnet50 on.
  const resize = config.depth < 50 ? 256 : 232;
  return {
    config,
    weights: path,
    classes: outputsByName(list, outputs, origin),
    preprocessing: { resize, crop: 224, interpolation: "bilinear", ...IMAGENET_COLOURS },
  };
}

function missing(path: string, outputs: number, beside: string): never {
  throw new KpopError(
    "INVALID_ARGUMENT",
    `${path} has ${outputs} classes and no names for them; give them as classes, or in ${beside}`,
  );
}

async function architectureOf(path: string): Promise<ResNetConfig> {
  const file = await safetensors.open(path);
  await file.close();
  const stem = file.shapes.get("conv1.weight");
  const head = file.shapes.get("fc.weight");
  const blocks = [1, 2, 3, 4].map(
    (stage) =>
      new Set(file.names.flatMap((name) => new RegExp(`^layer${stage}\\.(\\d+)\\.`).exec(name)?.[1] ?? []))
        .size,
  );
  const bottleneck = file.shapes.has("layer1.0.conv3.weight");
  const depth = Object.keys(STAGES)
    .map(Number)
    .find((candidate) => STAGES[candidate]!.join() === blocks.join() && candidate > 34 === bottleneck);
  if (stem?.length !== 4 || head?.length !== 2 || depth === undefined) {
    throw new KpopError(
      "INVALID_CHECKPOINT",
      `${path} is no ResNet of depth ${Object.keys(STAGES).join(", ")} with torchvision's keys (conv1, layer1 to layer4, fc)`,
    );
  }
  return { depth, num_classes: head[0]!, width: stem[0]!, stem: stem[2] === 3 ? "small" : "imagenet" };
}

/** The list in a JSON file, with the file's name; null where there is none. */
async function readClassList(path: string): Promise<[ClassList, string] | null> {
  if ((await stat(path).catch(() => null)) === null) return null;
  let value: unknown;
  try {
    value = JSON.parse(await readText(path));
  } catch (cause) {
    if (cause instanceof KpopError) throw cause;
    throw new KpopError("INVALID_CHECKPOINT", `${path} is not JSON: ${(cause as Error).message}`, { cause });
  }
  return [value as ClassList, path];
}

function outputsByName(list: ClassList, outputs: number, origin: string): Map<string, number> {
  if (Array.isArray(list) && list.length !== outputs)
    throw invalid(origin, `a list of ${outputs} names, one for each output of the classifier,`, list);
  if (!Array.isArray(list) && !isJsonObject(list))
    throw invalid(origin, "a list of names, or an object of names with the indices of their outputs,", list);
  const entries: [string, number][] = Array.isArray(list)
    ? (list as readonly string[]).map((name, index) => [name, index])
    : Object.entries(list);
  const classes = new Map<string, number>();
  for (const [name, index] of entries) {
    const plain = nonEmptyString(`a name in ${origin}`, name).toLowerCase();
    if (classes.has(plain)) throw invalid(origin, "free of repetitions", name);
    classes.set(plain, integer(`${origin}.${name}`, index, 0, outputs - 1));
  }
  if (classes.size === 0) throw invalid(origin, "a non-empty list of names", list);
  return classes;
}
