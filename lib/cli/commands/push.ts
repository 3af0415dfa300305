import type { Command } from "commander";
import { push } from "../../index";
import { plural } from "../format";
import { interruptible } from "../interrupt";
import { emit, print } from "../output";
import { Progress } from "../progress";
import { invocation } from "../shell";

interface Flags {
  public?: boolean;
  message?: string;
  baseModel?: string;
  license?: string;
  json?: boolean;
}

/** `kpop-native push PATH hf:USER/NAME`: publishes a saved model. */
export function registerPush(program: Command): void {
  program
    .command("push")
    .summary("publish a saved model or a delta on the hub, with its model card")
    .description(
      "Upload what erase wrote, with its model card, to a repository of the Hugging Face hub, in one commit.\n" +
        "A repository that does not exist is made, and only you see it unless --public is given. Keys are no part of a\n" +
        "saved model: they stay here. Needs the package @huggingface/hub, and a token that may write (HF_TOKEN, or\n" +
        "`hf auth login`).",
    )
    .argument("<PATH>", "the folder of a saved model, delta or LoRA, or the file of a delta")
    .argument("<NAME>", "hf:USER/NAME, then @BRANCH and /FOLDER where wanted")
    .option("--public", "let all see a repository that is made for it")
    .option("--message <text>", 'first line of the commit (default: "Upload" and the name of PATH)')
    .option("--base-model <name>", "the base's name on the hub, USER/MODEL, for a model card that is written")
    .option("--license <name>", "the hub's name of the licence, for a model card that is written")
    .option("--json", "print what happens as JSON, one object per line")
    .addHelpText(
      "after",
      () => `
Examples:
  ${invocation()} push ./no-church hf:me/sd14-no-church
  ${invocation()} push ./change hf:me/sd14-no-church-delta --base-model CompVis/stable-diffusion-v1-4 --public
`,
    )
    .action(async (path: string, name: string, { json = false, ...options }: Flags) => {
      const progress = new Progress("file", json);
      const pushed = await interruptible("nothing is published by halves", (signal) =>
        push(path, name, {
          ...options,
          signal,
          onProgress: ({ file, phase, files, totalFiles }) =>
            progress.update(files, totalFiles, `${phase} ${file}`, Infinity),
        }),
      ).finally(() => progress.stop());
      if (json) return emit({ event: "done", ...pushed });
      print(`Uploaded ${plural(pushed.files.length, "file")} to ${pushed.name}`);
      print(`  commit  ${pushed.url}`);
    });
}
