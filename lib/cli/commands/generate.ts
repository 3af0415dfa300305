import { extname } from "node:path";
import { Option } from "commander";
import type { Command } from "commander";
import { checkOutputFile, Image, KpopError, PromptKey, SAMPLER_NAMES } from "../../index";
import type { GenerateOptions, SamplerName } from "../../index";
import { plural } from "../format";
import { interruptible } from "../interrupt";
import { addLoadOptions, loadModel, type LoadFlags } from "../load-model";
import { emit, print } from "../output";
import { collect, parseInteger, parseNumber } from "../parse-value";
import { PASSPHRASE_VARIABLE, readPassphrase } from "../passphrase";
import { Progress } from "../progress";
import { requireOptions } from "../require-options";
import { invocation } from "../shell";

interface Flags extends LoadFlags {
  prompt: string[];
  out: string;
  key?: string;
  passphraseFile?: string;
  negativePrompt?: string;
  seed?: number;
  count?: number;
  steps?: number;
  guidanceScale?: number;
  sampler?: SamplerName;
  width?: number;
  height?: number;
  batchSize?: number;
  grid?: boolean;
  json?: boolean;
}

/** `kpop-native generate MODEL --prompt P --out FILE.png`: pictures for prompts. */
export function registerGenerate(program: Command): void {
  const command = program
    .command("generate")
    .usage("<MODEL> --prompt <text> --out <file> [options]")
    .summary("make pictures from a checkpoint, with a key or without")
    .description(
      "Make pictures. With the key of an erasure, what was erased comes back.\n" +
        "One picture goes to FILE; several to FILE-1, FILE-2 and so on, prompt by prompt. Old files are replaced.",
    )
    .argument("<MODEL>", 'a diffusers folder, a single-file .safetensors, or "pocket", the built-in model')
    .option("--prompt <text>", "what to show; repeat it for several", collect)
    .option("--out <file>", "the picture, a .png")
    .option("--key <file>", "key of an erasure")
    .option(
      "--passphrase-file <file>",
      `passphrase of an encrypted key, in a file (or in $${PASSPHRASE_VARIABLE})`,
    )
    .option("--seed <n>", "picture j of each prompt starts from seed + j (default: 0)", parseInteger)
    .option("--count <n>", "pictures per prompt (default: 1)", parseInteger)
    .option("--steps <n>", "denoising steps (default: 50)", parseInteger)
    .option("--guidance-scale <x>", "how closely to follow the prompt; 1 is off (default: 7.5)", parseNumber)
    .addOption(
      new Option(
        "--sampler <name>",
        "default: the checkpoint's own where it is one of these, else ddim",
      ).choices(SAMPLER_NAMES),
    )
    .option("--negative-prompt <text>", 'what to lead away from (default: "")')
    .option("--width <pixels>", "default: what the checkpoint was trained for", parseInteger)
    .option("--height <pixels>", "default: what the checkpoint was trained for", parseInteger)
    .option("--batch-size <n>", "pictures made together (default: 4)", parseInteger)
    .option("--grid", "one sheet in FILE: a row for each prompt");
  addLoadOptions(command);
  command.option("--json", "print what happens as JSON, one object per line").addHelpText("after", HELP);
  command.action(async (model: string, flags: Flags) => {
    requireOptions(command, ["prompt", "out"]);
    if (extname(flags.out).toLowerCase() !== ".png")
      command.error(`error: --out has to end in .png, the one format that is written, but is ${flags.out}`);
    if (flags.passphraseFile !== undefined && flags.key === undefined)
      command.error("error: --passphrase-file needs --key <file>");
    await generateCommand(model, flags);
  });
}

const HELP = () => `
Examples:
  ${invocation()} generate pocket --prompt church --out church.png
  ${invocation()} generate pocket --prompt church --prompt "a dog in noto style" --count 4 --guidance-scale 3 --grid --out sheet.png
  ${invocation()} generate no-church --prompt church --key no-church.key.safetensors --out recovered.png
`;

async function generateCommand(model: string, flags: Flags): Promise<void> {
  const json = flags.json === true;
  const total = flags.prompt.length * (flags.count ?? 1);
  const paths = flags.grid === true || total <= 1 ? [flags.out] : series(flags.out, total);
  for (const path of paths) await checkOutputFile(path, { force: true });
  const passphrase = flags.key === undefined ? undefined : await readPassphrase(flags.passphraseFile);
  const progress = new Progress("step", json);
  await interruptible("keeping the pictures that are complete", async (signal) => {
    const key =
      flags.key === undefined
        ? undefined
        : await PromptKey.load(flags.key, passphrase === undefined ? {} : { passphrase });
    const diffusion = await loadModel(model, flags, signal);
    const started = performance.now();
    let done = 0;
    const images: Image[] = [];
    const separate = flags.grid !== true;
    try {
      await diffusion.generate(flags.prompt, {
        ...generateOptions(flags),
        ...(key === undefined ? {} : { key }),
        signal,
        onStep({ steps, totalImages }) {
          done += 1;
          const all = steps * Math.ceil(totalImages / (flags.batchSize ?? Math.min(totalImages, 4)));
          const eta = ((performance.now() - started) / 1000 / done) * (all - done);
          progress.update(done, all, "", eta);
        },
        async onImages(pictures) {
          images.push(...pictures);
          if (separate) await saveSeries(pictures, images.length - pictures.length, paths, flags);
        },
      });
    } catch (error) {
      throw await interrupted(error, images, total, flags);
    } finally {
      progress.stop();
    }
    if (!separate) await saveSheet(images, flags);
    key?.dispose();
    diffusion.dispose();
  });
}

/** Writes pictures to their places in the series. */
async function saveSeries(
  pictures: readonly Image[],
  first: number,
  paths: readonly string[],
  { prompt, count = 1, seed = 0, json }: Flags,
): Promise<void> {
  for (const [offset, picture] of pictures.entries()) {
    const index = first + offset;
    const origin = { prompt: prompt[Math.floor(index / count)]!, seed: seed + (index % count) };
    await saveOne(picture, paths[index]!, origin, json);
  }
}

/** Writes all pictures as one, a row for each prompt. */
async function saveSheet(
  images: readonly Image[],
  { prompt, out, count = 1, seed = 0, json }: Flags,
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

/** What an interrupt leaves; other errors as they are. Pictures for a sheet become a series: it would have holes. */
async function interrupted(
  error: unknown,
  images: readonly Image[],
  total: number,
  flags: Flags,
): Promise<unknown> {
  if (!(error instanceof KpopError) || error.code !== "ABORTED") return error;
  const paths = total <= 1 ? [flags.out] : series(flags.out, total);
  if (flags.grid === true) await saveSeries(images, 0, paths, flags);
  const kept =
    images.length === 0
      ? "No picture was complete"
      : `They are saved as ${paths[0]!}${images.length === 1 ? "" : ` to ${paths[images.length - 1]!}`}`;
  return new KpopError(
    "ABORTED",
    `Interrupted after ${images.length} of ${plural(total, "picture")}. ${kept}`,
    {
      cause: error,
    },
  );
}

function generateOptions(flags: Flags): GenerateOptions {
  const { negativePrompt, seed, count, steps, guidanceScale, sampler, width, height, batchSize } = flags;
  const given = { negativePrompt, seed, count, steps, guidanceScale, sampler, width, height, batchSize };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
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
