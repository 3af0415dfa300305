import { Option } from "commander";
import type { Command } from "commander";
import { inspect } from "../../index";
import { describeInspection } from "../describe-inspection";
import { fromHub } from "../from-hub";
import { interruptible } from "../interrupt";
import { predictionOption } from "../load-model";
import { emit, print } from "../output";
import { invocation } from "../shell";

interface Flags {
  hash?: boolean;
  prediction?: "epsilon" | "v";
  json?: boolean;
}

/** `kpop-native inspect PATH`: what a file or folder is. */
export function registerInspect(program: Command): void {
  program
    .command("inspect")
    .summary("tell what a checkpoint, key, delta, LoRA or run manifest is")
    .description(
      "Tell what a file or folder is: a checkpoint, a key, a delta, a LoRA, a run's manifest or saved state, or\n" +
        "other safetensors. Reads headers only; needs no libtorch.",
    )
    .argument(
      "<PATH>",
      'a folder or file, "hf:user/name" of the hub, or "pocket" or "pocket-xl", the built-in models',
    )
    .option("--hash", "SHA-256 of every weight file, which reads them whole")
    .addOption(predictionOption())
    .addOption(new Option("--json", "print it all as one JSON object"))
    .addHelpText(
      "after",
      () => `
Examples:
  ${invocation()} inspect pocket
  ${invocation()} inspect no-church.key.safetensors --json
`,
    )
    .action(async (path: string, { hash = false, json = false, prediction }: Flags) => {
      const found = await interruptible("nothing was changed", async (signal) =>
        inspect(await fromHub(path, { json }, signal), {
          ...{ hash, signal },
          ...(prediction === undefined ? {} : { prediction }),
        }),
      );
      if (json) emit(found);
      else print(describeInspection(path, found));
    });
}
