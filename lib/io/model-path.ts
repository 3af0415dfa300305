import { join } from "node:path";
import { packageRoot } from "../runtime/package-root";

/** The models that come along: one of Stable Diffusion 1.x's architecture, and one of XL's. */
export const BUILT_IN: readonly string[] = ["pocket", "pocket-xl"];

/**
 * Where a model lies: a built-in one's folder for its name, any other path as it is.
 * @param parts place of a built-in network that is no part of the model itself; pocket's serve both
 */
export function modelPath(model: string, ...parts: string[]): string {
  if (!BUILT_IN.includes(model)) return model;
  return join(packageRoot(), "models", parts.length > 0 ? BUILT_IN[0]! : model, ...parts);
}

/** Whether a model was loaded from a built-in one's folder. @param path where it was loaded from */
export function isBuiltIn(path: string): boolean {
  return BUILT_IN.some((name) => modelPath(name) === path);
}
