import { realpath } from "node:fs/promises";
import { basename, dirname, join, resolve, sep } from "node:path";
import { KpopError } from "../errors";
import { networksOf, weightFiles } from "./checkpoint-types";
import type { CheckpointSource } from "./checkpoint-types";

export interface ApartOptions {
  /** The checkpoint's own path may be written: what stands there is replaced as a whole. Default false. */
  itself?: boolean;
}

/**
 * Refuses an output that is, holds or lies in what a model was read from, a delta and the targets of links included.
 * @throws INVALID_ARGUMENT
 */
export async function checkApart(
  source: CheckpointSource,
  output: string,
  { itself = false }: ApartOptions = {},
): Promise<void> {
  const own = new Set([source.path, ...weightFiles(source).map(({ path }) => path)]);
  const deltas = networksOf(source).flatMap(([, { tensors }]) =>
    [...tensors.values()].map(({ file }) => file),
  );
  const others = [...new Set(deltas)].filter((path) => !own.has(path));
  const over = itself && (await realPlace(output)) === (await realPlace(source.path));
  await checkPlaces(over ? others : [...own, ...others], output);
}

/** The same for paths of which no more is known. @throws INVALID_ARGUMENT */
export async function checkPlaces(places: readonly string[], output: string): Promise<void> {
  const target = await realPlace(output);
  for (const path of places) {
    // What is gone cannot be lost.
    const place = await realpath(path).catch(() => null);
    if (place === null) continue;
    const how =
      place === target ? "is" : within(place, target) ? "holds" : within(target, place) ? "lies in" : null;
    if (how === null) continue;
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Cannot write ${output}: it ${how} ${path}, which the model comes from; choose another place`,
    );
  }
}

function within(path: string, folder: string): boolean {
  return path.startsWith(folder.endsWith(sep) ? folder : folder + sep);
}

/** A path without links, whether or not its last parts are there. */
async function realPlace(path: string): Promise<string> {
  const absolute = resolve(path);
  const real = await realpath(absolute).catch(() => null);
  if (real !== null) return real;
  const parent = dirname(absolute);
  return parent === absolute ? absolute : join(await realPlace(parent), basename(absolute));
}
