import { join } from "node:path";
import { packageRoot } from "../runtime/package-root";

/**
 * Where a model lies: the built-in one's folder for "pocket", any other path as it is.
 * @param parts place of a built-in network that is no part of the model itself
 */
export function modelPath(model: string, ...parts: string[]): string {
  return model === "pocket" ? join(packageRoot(), "models", "pocket", ...parts) : model;
}
