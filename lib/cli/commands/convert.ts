import type { Command } from "commander";
import { convert } from "../../index";
import { fromHub } from "../from-hub";
import { interruptible } from "../interrupt";
import { MODEL_ARGUMENT, predictionOption } from "../load-model";
import { emit, print } from "../output";
import { requireOptions } from "../require-options";
import { addSaveOptions, checkSaveTarget, type SaveFlags } from "../save-target";
import { invocation } from "../shell";

interface Flags extends SaveFlags {
  prediction?: "epsilon" | "v";
  json?: boolean;
}

/** `kpop-native convert MODEL --out PATH`: a checkpoint in another layout. */
export function registerConvert(program: Command): void {
  const command = program
    .command("convert")
    .usage("<MODEL> --out <path> [options]")
    .summary("write a checkpoint in another layout")
    .description(
      "Write a checkpoint as a diffusers folder or as one file. All weights keep their bytes; needs no libtorch.",
    )
    .argument("<MODEL>", MODEL_ARGUMENT);
  addSaveOptions(command);
  command
    .addOption(predictionOption())
    .option("--json", "print what happens as JSON, one object per line")
    .addHelpText(
      "after",
      () => `
Examples:
  ${invocation()} convert ./no-church --out no-church.safetensors
  ${invocation()} convert v1-5.safetensors --out ./v1-5
`,
    );
  command.action(async (model: string, flags: Flags) => {
    requireOptions(command, ["out"]);
    const { out, force = false, json = false, prediction } = flags;
    const format = await checkSaveTarget(command, model, flags);
    await interruptible("nothing is left half written", async (signal) =>
      convert(await fromHub(model, flags, signal), out, {
        ...{ format, force, signal },
        ...(prediction === undefined ? {} : { prediction }),
      }),
    );
    if (json) emit({ event: "done", path: out, format });
    else print(out);
  });
}
