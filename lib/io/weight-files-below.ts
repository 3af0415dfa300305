import { readdir } from "node:fs/promises";
import { join } from "node:path";

/** Every .safetensors file in a folder and those below it, sorted. */
export async function weightFilesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith(".safetensors"))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}
