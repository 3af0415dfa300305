import { link, rm } from "node:fs/promises";
import { KpopError } from "../errors";
import { writeFileAtomically } from "./atomic";
import { jsonDifference } from "./json-difference";
import { formatJson, parseJsonObject, readTextIfThere } from "./json-file";
import { onDisk } from "./system-error";
import { temporaryBeside } from "./temporaries";

/**
 * Makes sure that all processes that share a run have the same one: the first leaves the run's identity in a file, and the
 * others compare theirs with it.
 * @param path the file; its folder has to be there
 * @param identity what decides the run's results, as JSON holds it
 * @param options.part whether this process does a part of the run. Else it does what is left, alone or after others, and
 *   leaves no file
 * @returns where others were there before and this process does what is left, how it ends the run, so that the next one in
 *   its place may be another; else null
 * @throws INVALID_ARGUMENT where the file tells of another run, saying where it differs; IO_ERROR, NO_SPACE
 */
export async function joinRun(
  path: string,
  identity: () => Promise<Readonly<Record<string, unknown>>>,
  { part }: { part: boolean },
): Promise<(() => Promise<void>) | null> {
  const found = await readTextIfThere(path);
  if (found === null && !part) return null;
  const own = formatJson(await identity());
  const there = found ?? (await create(path, own));
  if (there !== own) compare(path, there, own);
  return part ? null : () => onDisk("remove", path, () => rm(path, { force: true }));
}

/** Writes a file that is not there, whole; of several processes one does. @returns what the file holds then */
async function create(path: string, content: string): Promise<string> {
  const temporary = temporaryBeside(path);
  await writeFileAtomically(temporary, content);
  try {
    await onDisk("write", path, async () => {
      await link(temporary, path).catch(async (error: NodeJS.ErrnoException) => {
        if (error.code === "EEXIST") return;
        // Not every file system has links. Of two at the same moment the later one counts then.
        if (["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"].includes(error.code ?? ""))
          return await writeFileAtomically(path, content);
        throw error;
      });
    });
  } finally {
    await rm(temporary, { force: true });
  }
  return (await readTextIfThere(path)) ?? content;
}

function compare(path: string, there: string, own: string): void {
  const difference = jsonDifference(parseJsonObject(there, path), JSON.parse(own));
  if (difference === null) return;
  const { path: place, first, second } = difference;
  throw new KpopError(
    "INVALID_ARGUMENT",
    `${path} is of shards with other options or another model: ${place} was ${first} there and is ${second} here; give the same, or another folder, or remove that file where none of them runs any more`,
  );
}
