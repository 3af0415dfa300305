import { join } from "node:path";
import { packageRoot } from "../runtime/package-root";

/** Where a model lies: the built-in one's folder for "pocket", any other path as it is. */
export function modelPath(model: string): string {
  return model === "pocket" ? join(packageRoot(), "models", "pocket") : model;
}
