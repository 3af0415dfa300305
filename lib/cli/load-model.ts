import { stat } from "node:fs/promises";
import { Option } from "commander";
import type { Command } from "commander";
import { KpopError, StableDiffusion } from "../index";
import type { ComputeDtype, Device } from "../index";
import { BUILT_IN, localDevice } from "../internal";
import { flagsFromHub, fromHub } from "./from-hub";
import { say } from "./output";

/** What commands say of their MODEL. */
export const MODEL_ARGUMENT =
  'a diffusers folder, a single-file .safetensors, "hf:user/name" of the hub, or "pocket" or "pocket-xl", the built-in models';

/** Flags of every command that loads a model. */
export interface LoadFlags {
  device?: string;
  dtype?: ComputeDtype;
  delta?: string;
  prediction?: "epsilon" | "v";
  /** False by --no-mapped. */
  mapped?: boolean;
  json?: boolean;
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
    .option(
      "--delta <path>",
      "delta to apply onto MODEL, which it has to be made from: its file, folder or hf: name",
    )
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

/**
 * Loads the model that a command was given.
 * @param called how the user named it, where `model` is the place of its download. Default `model`
 * @throws what `StableDiffusion.load` throws
 */
export async function loadModel(
  model: string,
  flags: LoadFlags,
  signal: AbortSignal,
  called = model,
): Promise<StableDiffusion> {
  const path = await fromHub(model, flags, signal);
  const local = await flagsFromHub(flags, ["delta"], signal);
  const { device = localDevice(), dtype, delta, prediction, mapped } = local;
  if (!BUILT_IN.includes(model) && (await stat(path).catch(() => null)) === null) throw noModel(model);
  say(`Loading ${called}`);
  return await StableDiffusion.load(path, {
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
    `There is no model at ${model}; give a diffusers folder, a single-file .safetensors, "hf:user/name", "pocket" or "pocket-xl"` +
      (hub ? `. If that is its name on the hub, give hf:${model}` : ""),
  );
}
