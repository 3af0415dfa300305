import { join } from "node:path";
import type { Command } from "commander";
import { attribution } from "../../index";
import type { AttributionOptions } from "../../index";
import { ATTRIBUTION_FILE, ATTRIBUTION_OPTIONS } from "../../internal";
import { plural, quoted } from "../format";
import { interruptible } from "../interrupt";
import { addKeyOptions, checkKeyFlags, loadKey, type KeyFlags } from "../load-key";
import { addLoadOptions, loadModel, type LoadFlags } from "../load-model";
import { addOptionFlags, optionValues } from "../option-flags";
import { emit, print } from "../output";
import { collect } from "../parse-value";
import { readPassphrase } from "../passphrase";
import { Progress } from "../progress";
import { requireOptions } from "../require-options";
import { invocation, ownCommand } from "../shell";

/** Options that have a flag of their own name. */
const FLAGGED = Object.keys(ATTRIBUTION_OPTIONS).filter((name) => name !== "directory");

interface Flags extends LoadFlags, KeyFlags {
  prompt: string[];
  out: string;
  json?: boolean;
}

/** `kpop-native attribution MODEL --prompt P --out DIR`: where pictures attend to each word. */
export function registerAttribution(program: Command): void {
  const command = program
    .command("attribution")
    .usage("<MODEL> --prompt <text> --out <dir> [options]")
    .summary("show where a picture attends to each word of its prompt")
    .description(
      "Draw a picture, and show over it where it attended to each word: cross-attention, added up over steps, layers and " +
        `heads (DAAM, arXiv 2210.04885).\nDIR gets the pictures, the maps over them, and ${ATTRIBUTION_FILE}; \`report\` ` +
        "shows those of several models side by side.",
    )
    .argument(
      "<MODEL>",
      'a diffusers folder, a single-file .safetensors, or "pocket" or "pocket-xl", the built-in models',
    )
    .option("--prompt <text>", "what to show; repeat it for several", collect)
    .option("--out <dir>", "folder for the pictures and the maps");
  addKeyOptions(command, "key of an erasure");
  addOptionFlags(command, ATTRIBUTION_OPTIONS, FLAGGED);
  addLoadOptions(command);
  command.option("--json", "print what happens as JSON, one object per line").addHelpText("after", HELP);
  command.action(async (model: string, flags: Flags) => {
    requireOptions(command, ["prompt", "out"]);
    checkKeyFlags(command, flags);
    await attributionCommand(model, flags, optionValues(command, ATTRIBUTION_OPTIONS, FLAGGED));
  });
}

const HELP = () => `
Examples:
  ${invocation()} attribution pocket --prompt "a photo of a church" --out attended
  ${invocation()} attribution no-church --prompt "a photo of a church" --words church --heads --out attended-after
  ${invocation()} report no-church attended attended-after
`;

async function attributionCommand(model: string, flags: Flags, given: AttributionOptions): Promise<void> {
  const { prompt, out, json = false } = flags;
  const passphrase = flags.key === undefined ? undefined : await readPassphrase(flags.passphraseFile);
  const progress = new Progress("step", json);
  await interruptible("keeping no maps", async (signal) => {
    const key = await loadKey(flags, passphrase);
    const diffusion = await loadModel(model, flags, signal);
    const started = performance.now();
    let done = 0;
    const found = await attribution(diffusion, prompt, {
      ...given,
      ...(key === undefined ? {} : { key }),
      directory: out,
      command: ownCommand(),
      signal,
      onStep({ steps }) {
        done += 1;
        const all = steps * prompt.length;
        progress.update(done, all, "", ((performance.now() - started) / 1000 / done) * (all - done));
      },
    }).finally(() => progress.stop());
    const shown = found.map(({ words, ...picture }) => ({
      ...picture,
      words: words.map(({ word }) => word),
    }));
    if (json) {
      const pictures = shown.map(({ prompt: text, seed, words }) => ({ prompt: text, seed, words }));
      emit({ event: "done", result: join(out, ATTRIBUTION_FILE), pictures });
    } else {
      for (const picture of shown) print(`${picture.prompt}: ${quoted(picture.words)}`);
      print(`${plural(found.length, "picture")} with maps in ${out}`);
    }
    key?.dispose();
    diffusion.dispose();
  });
}
