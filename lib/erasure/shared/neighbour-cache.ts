import { join } from "node:path";
import { digest } from "../../diffusion/identity";
import { KpopError } from "../../errors";
import { writeFileAtomically } from "../../files/atomic";
import { formatJson, readJsonObject } from "../../files/json-file";
import { makeFolder } from "../../files/make-folder";
import { cacheFolder } from "../../runtime/cache-directory";

/**
 * Words that were chosen before, from the user's cache, or chosen now and kept there. Where the cache can't be read or
 * written, they are chosen now.
 * @param identity all that the choice depends on, as JSON
 * @param keeps whether what is chosen now is kept. Default true
 */
export async function remembered(
  identity: object,
  choose: () => Promise<readonly string[]>,
  keeps = true,
): Promise<readonly string[]> {
  const folder = join(cacheFolder(), "neighbours");
  const path = join(folder, `${digest(identity)}.json`);
  const found = await unlessItFails(() => readJsonObject(path));
  const words = found?.["words"];
  if (Array.isArray(words) && words.every((word) => typeof word === "string")) return words;
  const chosen = await choose();
  if (!keeps) return chosen;
  await unlessItFails(async () => {
    await makeFolder(folder);
    await writeFileAtomically(path, formatJson({ words: chosen }));
  });
  return chosen;
}

async function unlessItFails<T>(body: () => Promise<T>): Promise<T | undefined> {
  try {
    return await body();
  } catch (error) {
    if (error instanceof KpopError) return undefined;
    throw error;
  }
}
