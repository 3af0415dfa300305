import { extname } from "node:path";
import type { Command } from "commander";
import { Image, PromptKey } from "../../index";
import type { GenerateOptions } from "../../index";
import { checkOutputFile, GENERATE_OPTIONS } from "../../internal";
import { interruptible } from "../interrupt";
import { addLoadOptions, loadModel, type LoadFlags } from "../load-model";
import { emit, print } from "../output";
import { addOptionFlags, optionValues } from "../option-flags";
import { collect } from "../parse-value";
import { PASSPHRASE_VARIABLE, readPassphrase } from "../passphrase";
import { Progress } from "../progress";
import { requireOptions } from "../require-options";
import { invocation } from "../shell";

interface Flags extends LoadFlags {
  prompt: string[];
  out: string;
  key?: string;
  passphraseFile?: string;
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
    .option("--grid", "one sheet in FILE: a row for each prompt");
  addOptionFlags(command, GENERATE_OPTIONS);
  addLoadOptions(command);
  command.option("--json", "print what happens as JSON, one object per line").addHelpText("after", HELP);
  command.action(async (model: string, flags: Flags) => {
    requireOptions(command, ["prompt", "out"]);
    if (extname(flags.out).toLowerCase() !== ".png")
      command.error(`error: --out has to end in .png, the one format that is written, but is ${flags.out}`);
    if (flags.passphraseFile !== undefined && flags.key === undefined)
      command.error("error: --passphrase-file needs --key <file>");
    await generateCommand(model, flags, optionValues(command, GENERATE_OPTIONS));
  });
}

const HELP = () => `
Examples:
  ${invocation()} generate pocket --prompt church --out church.png
  ${invocation()} generate pocket --prompt church --prompt "a dog in noto style" --count 4 --guidance-scale 3 --grid --out sheet.png
  ${invocation()} generate no-church --prompt church --key no-church.key.safetensors --out recovered.png
`;

async function generateCommand(model: string, flags: Flags, given: GenerateOptions): Promise<void> {
  const json = flags.json === true;
  const total = flags.prompt.length * (given.count ?? 1);
  const paths = flags.grid === true || total <= 1 ? [flags.out] : series(flags.out, total);
  for (const path of paths) await checkOutputFile(path, { force: true });
  const passphrase = flags.key === undefined ? undefined : await readPassphrase(flags.passphraseFile);
  const progress = new Progress("step", json);
  await interruptible("leaving the pictures unfinished", async (signal) => {
    const key =
      flags.key === undefined
        ? undefined
        : await PromptKey.load(flags.key, passphrase === undefined ? {} : { passphrase });
    const diffusion = await loadModel(model, flags, signal);
    const started = performance.now();
    let done = 0;
    const images = await diffusion
      .generate(flags.prompt, {
        ...given,
        ...(key === undefined ? {} : { key }),
        signal,
        onStep({ steps, totalImages }) {
          done += 1;
          const all = steps * Math.ceil(totalImages / (given.batchSize ?? Math.min(totalImages, 4)));
          const eta = ((performance.now() - started) / 1000 / done) * (all - done);
          progress.update(done, all, "", eta);
        },
      })
      .finally(() => progress.stop());
    await save(images, paths, flags, given);
    key?.dispose();
    diffusion.dispose();
  });
}

async function save(
  images: readonly Image[],
  paths: readonly string[],
  { prompt, grid, json }: Flags,
  { count = 1, seed = 0 }: GenerateOptions,
): Promise<void> {
  const sheet = () => Image.grid(prompt.map((_, row) => images.slice(row * count, (row + 1) * count)));
  const pictures = grid === true ? [sheet()] : images;
  for (const [index, picture] of pictures.entries()) {
    const path = paths[index]!;
    await picture.save(path);
    const { width, height } = picture;
    const origin =
      grid === true
        ? { prompts: prompt, seed, count }
        : { prompt: prompt[Math.floor(index / count)]!, seed: seed + (index % count) };
    if (json === true) emit({ event: "image", path, width, height, ...origin });
    else print(path);
  }
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
