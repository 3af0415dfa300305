import { KpopError } from "../errors";

/** The refusal of a delta that was given as a model, and the way to load it. */
export function deltaRefused(path: string): KpopError {
  return new KpopError(
    "UNSUPPORTED_FORMAT",
    `${path} is a delta: it holds only what an erasure changed. Give the model that was erased from, and this path as its ` +
      `delta: StableDiffusion.load(model, { delta }), or MODEL --delta ${path} on the command line`,
  );
}

/** The refusal of a LoRA that was given as a model, and how to make one of it. @param kohya whether its keys are those that are applied here */
export function loraRefused(path: string, kohya: boolean): KpopError {
  const how = kohya
    ? `apply BASE --lora ${path} --out MODEL on the command line, or applyLora(model, path)`
    : "its keys are not kohya's, so in diffusers by load_lora_weights, fuse_lora and save_pretrained, or in the tool that made it";
  return new KpopError(
    "UNSUPPORTED_MODEL",
    `${path} is a LoRA: it holds a change alone. Put it into the model that it is for, and give the result: ${how}`,
  );
}
