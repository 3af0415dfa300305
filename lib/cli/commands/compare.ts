import { extname } from "node:path";
import { Option } from "commander";
import type { Command } from "commander";
import { PromptKey, SAMPLER_NAMES, sheet } from "../../index";
import { checkOutputFile } from "../../internal";
import type { GenerateOptions, Image, SamplerName, StableDiffusion } from "../../index";
import { interruptible } from "../interrupt";
import { addLoadOptions, loadModel, MODEL_ARGUMENT, type LoadFlags } from "../load-model";
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
  seed?: number;
  count?: number;
  steps?: number;
  guidanceScale?: number;
  sampler?: SamplerName;
  json?: boolean;
}

/** `kpop-native compare BEFORE AFTER --prompt P --out FILE.png`: what an erasure did to prompts, on one sheet. */
export function registerCompare(program: Command): void {
  const command = program
    .command("compare")
    .usage("<BEFORE> <AFTER> --prompt <text> --out <file> [options]")
    .summary("show prompts before and after an erasure, and with its key, on one sheet")
    .description(
      "Draw prompts with two checkpoints from the same noise, and put the pictures on one sheet: a row for each\n" +
        "prompt and seed; columns for before, after and, where there is a key, after with the key.",
    )
    .argument("<BEFORE>", MODEL_ARGUMENT)
    .argument("<AFTER>", "what the erasure made of it")
    .option("--prompt <text>", "what to show; repeat it for several", collect)
    .option("--out <file>", "the sheet, a .png; an old file is replaced")
    .option("--key <file>", "key of the erasure: adds what it brings back")
    .option(
      "--passphrase-file <file>",
      `passphrase of an encrypted key, in a file (or in $${PASSPHRASE_VARIABLE})`,
    )
    .option("--seed <n>", "row j of each prompt starts from seed + j (default: 0)", parseInteger)
    .option("--count <n>", "rows per prompt (default: 1)", parseInteger)
    .option("--steps <n>", "denoising steps (default: 50)", parseInteger)
    .option("--guidance-scale <x>", "how closely to follow the prompt; 1 is off (default: 7.5)", parseNumber)
    .addOption(
      new Option(
        "--sampler <name>",
        "default: each checkpoint's own where it is one of these, else ddim; pndm repeats its second step, so that 50 are 51; heun evaluates twice in a step",
      ).choices(SAMPLER_NAMES),
    );
  addLoadOptions(command);
  command.option("--json", "print what happens as JSON, one object per line").addHelpText(
    "after",
    () => `
Examples:
  ${invocation()} compare pocket no-church --prompt church --prompt "a photo of a dog" --count 2 --out sheet.png
  ${invocation()} compare pocket no-church --prompt church --key no-church.key.safetensors --out sheet.png
`,
  );
  command.action(async (before: string, after: string, flags: Flags) => {
    requireOptions(command, ["prompt", "out"]);
    if (extname(flags.out).toLowerCase() !== ".png")
      command.error(`error: --out has to end in .png, the one format that is written, but is ${flags.out}`);
    if (flags.passphraseFile !== undefined && flags.key === undefined)
      command.error("error: --passphrase-file needs --key <file>");
    await compare(before, after, flags);
  });
}

async function compare(before: string, after: string, flags: Flags): Promise<void> {
  const { prompt, out, count = 1, json = false } = flags;
  await checkOutputFile(out, { force: true });
  const passphrase = flags.key === undefined ? undefined : await readPassphrase(flags.passphraseFile);
  const progress = new Progress("step", json);
  await interruptible("leaving the sheet unfinished", async (signal) => {
    const key =
      flags.key === undefined
        ? undefined
        : await PromptKey.load(flags.key, passphrase === undefined ? {} : { passphrase });
    const columns = ["before", "after", ...(key === undefined ? [] : ["with the key"])];
    const started = performance.now();
    let [done, drawn] = [0, 0];
    const draw = async (model: StableDiffusion, column?: PromptKey): Promise<Image[]> => {
      const images = await model.generate(prompt, {
        ...generateOptions(flags),
        ...(column === undefined ? {} : { key: column }),
        signal,
        onStep({ steps, totalImages }) {
          done += 1;
          const all = columns.length * steps * Math.ceil(totalImages / Math.min(totalImages, 4));
          progress.update(
            done,
            all,
            columns[drawn]!,
            ((performance.now() - started) / 1000 / done) * (all - done),
          );
        },
      });
      drawn += 1;
      return images;
    };
    try {
      const original = await loadModel(before, flags, signal);
      const pictures = [await draw(original)];
      original.dispose();
      const erased = await loadModel(after, flags, signal);
      pictures.push(await draw(erased));
      if (key !== undefined) pictures.push(await draw(erased, key));
      erased.dispose();
      const rows = pictures[0]!.map((_, i) => ({
        prompt: prompt[Math.floor(i / count)]!,
        pictures: pictures.map((column) => column[i] ?? null),
      }));
      const page = sheet(
        columns.map((name) => name.replace(" ", "\n")),
        [{ title: "", rows }],
        Math.max(...pictures.flat().map(({ height }) => height)),
      );
      progress.stop();
      await page.save(out);
      const { width, height } = page;
      const shown = {
        columns,
        prompts: prompt,
        seed: flags.seed ?? 0,
        count,
      };
      if (json) emit({ event: "sheet", path: out, width, height, ...shown });
      else print(out);
    } finally {
      progress.stop();
      key?.dispose();
    }
  });
}

function generateOptions({ seed, count, steps, guidanceScale, sampler }: Flags): GenerateOptions {
  const given = { seed, count, steps, guidanceScale, sampler };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}
