import { createHash } from "node:crypto";
import { createReadStream, existsSync, readFileSync, statSync } from "node:fs";
import { readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

/** What `install-runtime` wrote down about what it installed; kpop-runtime.json beside torch/. */
export interface RuntimeRecord {
  version: string;
  flavour: "cpu" | "cuda";
  archives: { name: string; sha256: string }[];
  /** The shared libraries, by path relative to the record. */
  files: Record<string, { bytes: number; sha256: string }>;
}

const NAME = "kpop-runtime.json";

/** Hashes the installed libraries and writes the record into `directory`. */
export async function writeRuntimeRecord(
  directory: string,
  record: Omit<RuntimeRecord, "files">,
): Promise<RuntimeRecord> {
  const files: RuntimeRecord["files"] = {};
  const folder = join("torch", "lib");
  for (const name of (await readdir(join(directory, folder))).sort()) {
    if (!/\.so(?:\.\d+)*$/.test(name)) continue;
    const path = join(directory, folder, name);
    files[join(folder, name)] = { bytes: (await stat(path)).size, sha256: await hashFile(path) };
  }
  const complete = { ...record, files };
  await writeFile(join(directory, NAME), `${JSON.stringify(complete, null, 2)}\n`);
  return complete;
}

/** The record of an installed runtime; null when there is none that can be read. */
export function readRuntimeRecord(directory: string): RuntimeRecord | null {
  const path = join(directory, NAME);
  if (!existsSync(path)) return null;
  try {
    const record = JSON.parse(readFileSync(path, "utf8")) as RuntimeRecord | null;
    return typeof record?.files === "object" && Array.isArray(record.archives) ? record : null;
  } catch {
    return null;
  }
}

/** Libraries whose length is not the recorded one. Cheap: no file is read. */
export function resizedFiles(directory: string, record: RuntimeRecord): string[] {
  return Object.entries(record.files)
    .filter(([name, { bytes }]) => lengthOf(join(directory, name)) !== bytes)
    .map(([name]) => name);
}

/** Libraries whose content is not the recorded one. Reads them all: about a second. */
export async function changedFiles(directory: string, record: RuntimeRecord): Promise<string[]> {
  const changed = resizedFiles(directory, record);
  for (const [name, { sha256 }] of Object.entries(record.files)) {
    if (changed.includes(name)) continue;
    // What cannot be read cannot be loaded either.
    const found = await hashFile(join(directory, name)).catch(() => null);
    if (found !== sha256) changed.push(name);
  }
  return changed;
}

function lengthOf(path: string): number | null {
  try {
    return statSync(path).size;
  } catch {
    return null;
  }
}

/** SHA-256 of a file as hexadecimal digits. */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path, { highWaterMark: 2 ** 20 }), hash);
  return hash.digest("hex");
}
