import { rm, stat } from "node:fs/promises";
import { extname, join } from "node:path";
import type { Command } from "commander";
import { Image, KpopError } from "../../index";
import type { GenerateOptions } from "../../index";
import { checkOutputFile, GENERATE_OPTIONS, SHARDED_RUN_FILE } from "../../internal";
import { plural } from "../format";
import { drawPrompts, planPrompts } from "../generate-prompts";
import { interruptible } from "../interrupt";
import { addKeyOptions, checkKeyFlags, loadKey, type KeyFlags } from "../load-key";
import { addLoadOptions, loadModel, type LoadFlags } from "../load-model";
import { emit, print, say } from "../output";
import { addOptionFlags, optionValues } from "../option-flags";
import { collect } from "../parse-value";
import { readPassphrase } from "../passphrase";
import { Progress } from "../progress";
import { requireOptions } from "../require-options";
import { afterShards, shardOf } from "../shard";
import { invocation } from "../shell";

interface Flags extends LoadFlags, KeyFlags {
  prompt: string[];
  prompts?: string;
  promptColumn?: string;
  out: string;
  grid?: boolean;
  json?: boolean;
}

/** `kpop-native generate MODEL --prompt P --out FILE.png`: pictures for prompts. */
export function registerGenerate(program: Command): void {
  const command = program
    .command("generate")
    .usage("<MODEL> --prompt <text> --out <file> | --prompts <file> --out <dir> [options]")
    .summary("make pictures from a checkpoint, with a key or without")
    .description(
      "Make pictures. With the key of an erasure, what was erased comes back.\n" +
        "One picture goes to FILE; several to FILE-1, FILE-2 and so on, prompt by prompt. Old files are replaced.\n" +
        "With --prompts a picture for each row of a prompt file goes to DIR, with the row's seed, guidance and size where no " +
        "option says otherwise, named by its case number.",
    )
    .argument("<MODEL>", 'a diffusers folder, a single-file .safetensors, or "pocket", the built-in model')
    .option("--prompt <text>", "what to show; repeat it for several", collect)
    .option("--prompts <file>", "prompt file to draw, a CSV or a .txt with a prompt on each line")
    .option(
      "--prompt-column <text>",
      'column of the prompts where it has another name; "line": each line is one',
    )
    .option("--out <path>", "the picture, a .png; with --prompts a folder")
    .option("--grid", "one sheet in FILE: a row for each prompt");
  addKeyOptions(command, "key of an erasure");
  addOptionFlags(command, GENERATE_OPTIONS);
  addLoadOptions(command);
  command.option("--json", "print what happens as JSON, one object per line").addHelpText("after", HELP);
  command.action(async (model: string, flags: Flags) => {
    if (flags.prompts !== undefined) {
      const other = (["prompt", "grid", "count"] as const).find((name) => (flags as { [K in typeof name]?: unknown })[name] !== undefined); // prettier-ignore
      if (other !== undefined) command.error(`error: --${other} does not go with --prompts <file>`);
      requireOptions(command, ["out"]);
      checkKeyFlags(command, flags);
      return await generateRows(flags.prompts, model, flags, optionValues(command, GENERATE_OPTIONS));
    }
    if (flags.promptColumn !== undefined) command.error("error: --prompt-column needs --prompts <file>");
    requireOptions(command, ["prompt", "out"]);
    if (extname(flags.out).toLowerCase() !== ".png")
      command.error(`error: --out has to end in .png, the one format that is written, but is ${flags.out}`);
    checkKeyFlags(command, flags);
    await generateCommand(model, flags, optionValues(command, GENERATE_OPTIONS));
  });
}

const HELP = () => `
Examples:
  ${invocation()} generate pocket --prompt church --out church.png
  ${invocation()} generate pocket --prompt church --prompt "a dog in noto style" --count 4 --guidance-scale 3 --grid --out sheet.png
  ${invocation()} generate no-church --prompt church --key no-church.key.safetensors --out recovered.png
  ${invocation()} generate ./stable-diffusion-v1-4 --prompts coco.csv --out pictures
`;

async function generateCommand(model: string, flags: Flags, typed: GenerateOptions): Promise<void> {
  const json = flags.json === true;
  const { shard: named, ...given } = typed;
  const shard = shardOf(named);
  const total = flags.prompt.length * (given.count ?? 1);
  const paths = flags.grid === true || total <= 1 ? [flags.out] : series(flags.out, total);
  for (const path of paths) await checkOutputFile(path, { force: true });
  const shards = `${flags.out.slice(0, -extname(flags.out).length)}.shards`;
  const shared = shard !== undefined || (await isThere(join(shards, SHARDED_RUN_FILE)));
  const passphrase = flags.key === undefined ? undefined : await readPassphrase(flags.passphraseFile);
  const progress = new Progress("step", json);
  await interruptible("keeping the pictures that are complete", async (signal) => {
    const key = await loadKey(flags, passphrase);
    const diffusion = await loadModel(model, flags, signal);
    const started = performance.now();
    let done = 0;
    const images: Image[] = [];
    const separate = flags.grid !== true;
    try {
      await diffusion.generate(flags.prompt, {
        ...given,
        ...(shard === undefined ? {} : { shard }),
        ...(shared ? { keepIn: shards } : {}),
        ...(key === undefined ? {} : { key }),
        signal,
        onStep({ steps, totalImages }) {
          done += 1;
          const all = steps * Math.ceil(totalImages / (given.batchSize ?? Math.min(totalImages, 4)));
          const eta = ((performance.now() - started) / 1000 / done) * (all - done);
          progress.update(done, all, "", eta);
        },
        async onImages(pictures, places) {
          for (const [i, picture] of pictures.entries()) {
            images[places[i]!] = picture;
            if (separate)
              await saveOne(picture, paths[places[i]!]!, originOf(places[i]!, flags, given), json);
          }
        },
      });
    } catch (error) {
      throw shared ? keptAt(error, shards) : await interrupted(error, images, total, flags, given);
    } finally {
      progress.stop();
    }
    if (shard !== undefined)
      say(afterShards(`${plural(images.filter(Boolean).length, "picture")} of this shard lie in ${shards}`));
    else {
      if (!separate) await saveSheet(images, flags, given);
      if (shared) await rm(shards, { recursive: true, force: true });
    }
    key?.dispose();
    diffusion.dispose();
  });
}

async function generateRows(
  file: string,
  model: string,
  flags: Flags,
  given: GenerateOptions,
): Promise<void> {
  const { promptColumn: column, out, json = false } = flags;
  const { shard: named, ...drawing } = given;
  const all = await planPrompts(file, { column, out }, drawing);
  const shard = shardOf(named);
  const pictures = all.filter((_, i) => shard === undefined || i % shard.count === shard.index);
  for (const { path } of pictures) await checkOutputFile(path, { force: true });
  const passphrase = flags.key === undefined ? undefined : await readPassphrase(flags.passphraseFile);
  await interruptible(`keeping the pictures that are complete in ${out}`, async (signal) => {
    const key = await loadKey(flags, passphrase);
    const diffusion = await loadModel(model, flags, signal);
    await drawPrompts(diffusion, pictures, { signal, json, ...(key === undefined ? {} : { key }) });
    key?.dispose();
    diffusion.dispose();
  });
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** What a picture of the series is of. */
function originOf(place: number, { prompt }: Flags, { count = 1, seed = 0 }: GenerateOptions): object {
  return { prompt: prompt[Math.floor(place / count)]!, seed: seed + (place % count) };
}

/** Writes all pictures as one, a row for each prompt. */
async function saveSheet(
  images: readonly Image[],
  { prompt, out, json }: Flags,
  { count = 1, seed = 0 }: GenerateOptions,
): Promise<void> {
  const sheet = Image.grid(prompt.map((_, row) => images.slice(row * count, (row + 1) * count)));
  await saveOne(sheet, out, { prompts: prompt, seed, count }, json);
}

async function saveOne(
  picture: Image,
  path: string,
  origin: object,
  json: boolean | undefined,
): Promise<void> {
  await picture.save(path);
  const { width, height } = picture;
  if (json === true) emit({ event: "image", path, width, height, ...origin });
  else print(path);
}

/** An interrupt of what is kept anyway; other errors as they are. */
function keptAt(error: unknown, shards: string): unknown {
  if (!(error instanceof KpopError) || error.code !== "ABORTED") return error;
  const message = `Interrupted. The pictures that are complete lie in ${shards}, and the same command goes on from them`;
  return new KpopError("ABORTED", message, { cause: error });
}

/** What an interrupt leaves; other errors as they are. Pictures for a sheet become a series: it would have holes. */
async function interrupted(
  error: unknown,
  images: readonly (Image | undefined)[],
  total: number,
  flags: Flags,
  given: GenerateOptions,
): Promise<unknown> {
  if (!(error instanceof KpopError) || error.code !== "ABORTED") return error;
  const paths = total <= 1 ? [flags.out] : series(flags.out, total);
  const done = paths.flatMap((path, place) => {
    const picture = images[place];
    return picture === undefined ? [] : [{ path, place, picture }];
  });
  if (flags.grid === true)
    for (const { path, place, picture } of done)
      await saveOne(picture, path, originOf(place, flags, given), flags.json);
  const [first, last] = [done[0]?.path, done.at(-1)?.path];
  const kept =
    first === undefined
      ? "No picture was complete"
      : `They are saved as ${first}${first === last ? "" : ` to ${last}`}`;
  return new KpopError(
    "ABORTED",
    `Interrupted after ${done.length} of ${plural(total, "picture")}. ${kept}`,
    {
      cause: error,
    },
  );
}

/** FILE-1.png … FILE-12.png, the numbers of one length so that they sort. */
function series(file: string, total: number): string[] {
  const extension = extname(file);
  const stem = file.slice(0, -extension.length);
  const digits = String(total).length;
  return Array.from(
    { length: total },
    (_, i) => `${stem}-${String(i + 1).padStart(digits, "0")}${extension}`,
  );
}
