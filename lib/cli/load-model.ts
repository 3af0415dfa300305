import { stat } from "node:fs/promises";
import { Option } from "commander";
import type { Command } from "commander";
import { KpopError, StableDiffusion } from "../index";
import type { ComputeDtype, Device } from "../index";
import { localDevice } from "../internal";
import { say } from "./output";

/** Flags of every command that loads a model. */
export interface LoadFlags {
  device?: string;
  dtype?: ComputeDtype;
  delta?: string;
  prediction?: "epsilon" | "v";
  /** False by --no-mapped. */
  mapped?: boolean;
}

export function addLoadOptions(command: Command): void {
  command
    .option(
      "--device <name>",
      "auto, cpu, cuda, cuda:0 and so on (default: auto, a GPU if there is one; of several processes each its own)",
    )
    .addOption(
      new Option("--dtype <name>", "what weights are held and computed in; float32 when not given").choices([
        "float32",
        "bfloat16",
        "float16",
      ]),
    )
    .option("--delta <path>", "delta to apply onto MODEL, which it has to be made from: its file or folder")
    .addOption(predictionOption())
    .option(
      "--no-mapped",
      "copy the weights into memory: safe where another program may truncate the model's files",
    );
}

/** What a single file of Stable Diffusion 2 does not say. */
export function predictionOption(): Option {
  const help = "what the network predicts, where a single file does not say (Stable Diffusion 2's)";
  return new Option("--prediction <type>", help).choices(["epsilon", "v"]);
}

/** Loads the model that a command was given. @throws what `StableDiffusion.load` throws */
export async function loadModel(
  model: string,
  { device = localDevice(), dtype, delta, prediction, mapped }: LoadFlags,
  signal: AbortSignal,
): Promise<StableDiffusion> {
  if (model !== "pocket" && (await stat(model).catch(() => null)) === null) throw noModel(model);
  say(`Loading ${model}`);
  return await StableDiffusion.load(model, {
    ...(device === undefined ? {} : { device: device as Device }),
    ...(dtype === undefined ? {} : { dtype }),
    ...(delta === undefined ? {} : { delta }),
    ...(prediction === undefined ? {} : { prediction }),
    ...(mapped === undefined ? {} : { mapped }),
    signal,
  });
}

function noModel(model: string): KpopError {
  const hub = /^[\w.-]+\/[\w.-]+$/.test(model) && !model.startsWith(".");
  return new KpopError(
    "NOT_FOUND",
    `There is no model at ${model}; give a diffusers folder, a single-file .safetensors, or "pocket"` +
      (hub ? ". If that is its name on a hub, download it first: names are not looked up" : ""),
  );
}
