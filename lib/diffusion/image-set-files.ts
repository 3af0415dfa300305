import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { KpopError } from "../errors";
import { writeFileAtomically } from "../files/atomic";
import { forEachLimited } from "../files/for-each-limited";
import { formatJson, parseJsonObject, readText, readTextIfThere } from "../files/json-file";
import { makeFolder } from "../files/make-folder";
import { pngSize } from "../io/png-structure";
import { onDisk } from "../files/system-error";
import { machineKind, type MachineKind } from "../runtime/machine";
import { digest } from "./identity";
import type { ImageSetIdentity } from "./image-set-identity";
import type { StableDiffusion } from "./stable-diffusion";

/** What the folder of a set is called. */
export const SET_NAME = /^[0-9a-f]{32}$/;
/** What a picture in it is called. */
export const PICTURE_FILE = /^[a-z0-9-]+-\d+-[0-9a-f]{16}\.png$/;
/** Says what a folder's pictures are of; for people, and for telling a damaged folder. */
export const DESCRIPTION_FILE = "set.json";
/** Says on what kind of machine pictures of a folder were drawn: a file for each kind. */
export const MACHINE_FILE = /^machine-[0-9a-f]{16}\.json$/;
/** Files looked at together. */
const READS = 8;

/** Where the set's folder is, or would be. */
export function folderOf(parent: string, identity: ImageSetIdentity): string {
  return join(parent, digest(identity));
}

/** The set's folder, made where it is not there. @throws IO_ERROR when it says that it is another's */
export async function openFolder(parent: string, identity: ImageSetIdentity): Promise<string> {
  const folder = folderOf(parent, identity);
  await makeFolder(folder);
  const path = join(folder, DESCRIPTION_FILE);
  const text = await readTextIfThere(path);
  const expected = formatJson(identity);
  if (text === null) await writeFileAtomically(path, expected);
  else if (text !== expected) {
    throw new KpopError(
      "IO_ERROR",
      `${path} is damaged, or was written by hand; remove that one file and run the same again: the pictures beside it are checked one by one and kept`,
    );
  }
  return folder;
}

/** Leaves word that pictures of a set are drawn here. Before the first: none is then without. @throws NO_SPACE, IO_ERROR */
export async function noteMachine(folder: string, device: string): Promise<void> {
  const kind = machineKind(device);
  const path = join(folder, `machine-${digest(kind).slice(0, 16)}.json`);
  if ((await stat(path).catch(() => null)) === null) await writeFileAtomically(path, formatJson({ kind }));
}

/** The kind of machine that drew all pictures of a set; null where there were several, or it is not known. */
export async function machineOf(folder: string): Promise<MachineKind | null> {
  const [name, ...others] = (await readdir(folder).catch(() => [])).filter((one) => MACHINE_FILE.test(one));
  if (name === undefined || others.length > 0) return null;
  const path = join(folder, name);
  return (parseJsonObject(await readText(path), path)["kind"] ?? null) as MachineKind | null;
}

/** A name that says what the picture is of, and tells it from every other. */
export function fileName(model: StableDiffusion, { prompt, seed }: { prompt: string; seed: number }): string {
  const words = prompt.toLowerCase().match(/[a-z0-9]+/g) ?? ["picture"];
  // What the tokenizer makes of the prompt belongs to it: models may share weights but not that.
  const mark = digest([prompt, model.tokenizer.encode(prompt), seed]).slice(0, 16);
  return `${words.join("-").slice(0, 40)}-${seed}-${mark}.png`;
}

/** The pictures that are not there whole, in that size. @throws IO_ERROR */
export async function findMissing<P extends { readonly path: string }>(
  wanted: readonly P[],
  { width, height }: { width: number; height: number },
): Promise<P[]> {
  const there = new Set<P>();
  await forEachLimited(wanted, READS, async (picture) => {
    const { path } = picture;
    const bytes = await onDisk("read", path, () => readFile(path)).catch((error: unknown) => {
      if (error instanceof KpopError && error.code === "NOT_FOUND") return null;
      throw error;
    });
    const size = bytes === null ? null : pngSize(bytes);
    if (size?.width === width && size.height === height) there.add(picture);
  });
  return wanted.filter((picture) => !there.has(picture));
}
