import { Argument } from "commander";
import type { Command } from "commander";
import { listCachedPictures, removeCachedPictures } from "../../index";
import type { CachedPictures } from "../../index";
import { bytes, plural } from "../format";
import { emit, print, say } from "../output";
import { parseNumber } from "../parse-value";
import { invocation } from "../shell";

interface Flags {
  olderThan?: number;
  directory?: string;
  yes?: boolean;
  json?: boolean;
}

const DAY_MS = 24 * 3600 * 1000;

/** `kpop-native cache [list | clear]`: pictures that were kept so as not to be made again. */
export function registerCache(program: Command): void {
  const command = program
    .command("cache")
    .summary("list or remove the pictures that were kept so as not to be made again")
    .description(
      "List or remove the pictures that erasures, evaluations and attacks keep so as not to make them again.\n" +
        "Each set is of one model and one choice of options; a removed one is made again when it is needed.",
    )
    .addArgument(new Argument("[what]", "list or clear").choices(["list", "clear"]).default("list"))
    .option("--older-than <days>", "only sets to which nothing was added for so long", parseNumber)
    .option("--directory <dir>", "a folder of sets (default: the one in your cache folder)")
    .option("--yes", "what clear needs to remove anything; without it, it says what it would remove")
    .option("--json", "print it as JSON, one object per line")
    .addHelpText(
      "after",
      () => `
Examples:
  ${invocation()} cache
  ${invocation()} cache clear --older-than 30 --yes
`,
    );
  command.action(
    async (what: "list" | "clear", { olderThan, directory, yes = false, json = false }: Flags) => {
      const chosen = {
        ...(olderThan === undefined ? {} : { olderThanDays: olderThan }),
        ...(directory === undefined ? {} : { directory }),
      };
      const removes = what === "clear" && yes;
      const sets = removes ? await removeCachedPictures(chosen) : await listCachedPictures(chosen);
      for (const set of sets) {
        if (json) emit({ event: removes ? "removed" : "set", ...set });
        else print(`${removes ? "removed " : ""}${describe(set)}`);
      }
      const sum = `${plural(sets.length, "set")}, ${total(sets)}`;
      if (what === "list") say(sets.length === 0 ? "No pictures are kept" : sum);
      else if (yes) say(sets.length === 0 ? "There is nothing to remove" : `Removed ${sum}`);
      else command.error(`error: this would remove ${sum}; say --yes to do it`);
    },
  );
}

function describe({ directory, pictures, bytes: size, usedAt }: CachedPictures): string {
  const days = Math.floor((Date.now() - usedAt.getTime()) / DAY_MS);
  const age = days === 0 ? "added to today" : `last added to ${plural(days, "day")} ago`;
  return [plural(pictures, "picture"), bytes(size), age, directory].join("  ");
}

function total(sets: readonly CachedPictures[]): string {
  const sum = (value: (set: CachedPictures) => number): number =>
    sets.reduce((all, set) => all + value(set), 0);
  return `${plural(
    sum(({ pictures }) => pictures),
    "picture",
  )}, ${bytes(sum((set) => set.bytes))}`;
}
