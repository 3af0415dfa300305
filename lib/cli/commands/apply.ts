import type { Command } from "commander";
import { InvalidArgumentError } from "commander";
import { applyLora, convert } from "../../index";
import { flagsFromHub, fromHub } from "../from-hub";
import { interruptible } from "../interrupt";
import { loadModel, MODEL_ARGUMENT, predictionOption } from "../load-model";
import { emit, print, say } from "../output";
import { parseNumber } from "../parse-value";
import { requireOptions } from "../require-options";
import { addSaveOptions, checkSaveTarget, type ModelFormat, type SaveFlags } from "../save-target";
import { invocation } from "../shell";

interface Lora {
  path: string;
  strength: number;
}

interface Flags extends SaveFlags {
  prediction?: "epsilon" | "v";
  delta?: string;
  lora?: Lora[];
  json?: boolean;
}

/** `kpop-native apply MODEL --delta FILE | --lora FILE[:strength] --out PATH`: a checkpoint with a change in its weights. */
export function registerApply(program: Command): void {
  const command = program
    .command("apply")
    .usage("<MODEL> --delta <file> | --lora <file[:strength]> --out <path> [options]")
    .summary("write a checkpoint with a delta or LoRAs in its weights")
    .description(
      "Put a delta, LoRAs, or both into a checkpoint's weights and write the result.\n" +
        "A delta belongs to one base and gives it back to the byte; a LoRA comes near, and goes onto any model of its shape.",
    )
    .argument("<MODEL>", `the base: ${MODEL_ARGUMENT}`)
    .option("--delta <file>", "a delta, or the folder it was saved into")
    .option(
      "--lora <file>",
      "a LoRA under kohya's keys, or the folder it was saved into; :STRENGTH behind it scales it (default: 1); repeatable",
      parseLora,
    );
  addSaveOptions(command);
  command
    .addOption(predictionOption())
    .option("--json", "print what happens as JSON, one object per line")
    .addHelpText(
      "after",
      () => `
Examples:
  ${invocation()} erase pocket --concept church --format delta --out change
  ${invocation()} apply pocket --delta change --out no-church
  ${invocation()} apply ./sd14 --lora no-church/lora.safetensors:0.8 --out no-church.safetensors
`,
    );
  command.action(async (model: string, flags: Flags) => {
    requireOptions(command, ["out"]);
    if (flags.delta === undefined && flags.lora === undefined)
      command.error("error: required option '--delta <file>' or '--lora <file>' not specified");
    const format = await checkSaveTarget(command, model, flags);
    await interruptible("nothing is left half written", async (signal) =>
      apply(
        model,
        await fromHub(model, flags, signal),
        await flagsFromHub(flags, ["delta"], signal),
        format,
        signal,
      ),
    );
    if (flags.json === true) emit({ event: "done", path: flags.out, format });
    else print(flags.out);
  });
}

async function apply(
  called: string,
  model: string,
  { delta, lora, out, force = false, prediction, json }: Flags,
  format: ModelFormat,
  signal: AbortSignal,
): Promise<void> {
  const given = {
    ...(delta === undefined ? {} : { delta }),
    ...(prediction === undefined ? {} : { prediction }),
  };
  if (lora === undefined) return await convert(model, out, { format, force, signal, ...given });
  let result = await loadModel(model, { device: "cpu", ...given }, signal, called);
  for (const { path, strength } of lora) {
    say(`Applying ${path}`);
    const next = await applyLora(result, await fromHub(path, { json }, signal), { strength, signal });
    result.dispose();
    result = next;
  }
  await result.save(out, { format, force, signal });
  result.dispose();
}

/** FILE, or FILE:STRENGTH. */
function parseLora(text: string, previous: readonly Lora[] | undefined): Lora[] {
  const [, path, strength] = /^(.+?)(?::([^:/]*))?$/s.exec(text) ?? [];
  if (path === undefined) throw new InvalidArgumentError("Expected FILE or FILE:STRENGTH.");
  return [...(previous ?? []), { path, strength: strength === undefined ? 1 : parseNumber(strength) }];
}
