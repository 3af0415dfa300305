import { invalid } from "../check";
import { StableDiffusion } from "./stable-diffusion";

/** @throws INVALID_ARGUMENT when it is neither a model nor what `StableDiffusion.load` takes */
export function checkModel(name: string, given: unknown): void {
  if (typeof given !== "string" && !(given instanceof StableDiffusion))
    throw invalid(name, "a StableDiffusion or a path", given);
}

/** Where a model's checkpoint lies. */
export function pathOf(given: StableDiffusion | string): string {
  return typeof given === "string" ? given : given.source.path;
}

/**
 * Runs `fn` with a model: the one given, or the one loaded from a path, which is freed at the end.
 * @throws what `StableDiffusion.load` throws
 */
export async function withModel<T>(
  given: StableDiffusion | string,
  signal: AbortSignal | undefined,
  fn: (model: StableDiffusion) => Promise<T>,
): Promise<T> {
  if (typeof given !== "string") return fn(given);
  const model = await StableDiffusion.load(given, signal === undefined ? {} : { signal });
  try {
    return await fn(model);
  } finally {
    model.dispose();
  }
}
