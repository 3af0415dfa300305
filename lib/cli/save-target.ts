import { dirname, extname, resolve } from "node:path";
import { Option } from "commander";
import type { Command } from "commander";
import { KpopError } from "../index";
import { checkOutputFile, checkOutputFolder, makeFolder } from "../internal";
import { withForceHint } from "./force-hint";

/** Layouts that a whole model is written in. */
export type ModelFormat = "diffusers" | "single-file";

/** Flags of the commands that write a whole model. */
export interface SaveFlags {
  out: string;
  format?: ModelFormat;
  force?: boolean;
}

export function addSaveOptions(command: Command): void {
  command
    .option("--out <path>", "what is written: a folder, or a .safetensors file")
    .addOption(
      new Option(
        "--format <name>",
        "diffusers, or single-file for WebUI and ComfyUI (default: what --out looks like)",
      ).choices(["diffusers", "single-file"]),
    )
    .option("--force", "replace what stands at --out");
}

/** The format that is meant; everything that could refuse the result is asked before the work.
 *  @throws OUTPUT_NOT_EMPTY, NOT_FOUND, IO_ERROR; ends with wrong usage when --out and --format contradict each other */
export async function checkSaveTarget(
  command: Command,
  model: string,
  { out, format, force = false }: SaveFlags,
): Promise<ModelFormat> {
  const isFile = extname(out).toLowerCase() === ".safetensors";
  const meant = format ?? (isFile ? "single-file" : "diffusers");
  if (isFile !== (meant === "single-file"))
    command.error(
      `error: --out has to be ${meant === "diffusers" ? "a folder" : "a .safetensors file"} for --format ${meant}, but is ${out}`,
    );
  if (resolve(model) === resolve(out))
    throw new KpopError("INVALID_ARGUMENT", `Expected --out to be another place than the model ${model}`);
  await withForceHint(async () => {
    if (meant === "diffusers") return checkOutputFolder(out, { force });
    await makeFolder(dirname(out));
    return checkOutputFile(out, { force });
  });
  return meant;
}
