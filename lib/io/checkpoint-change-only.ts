import { KpopError } from "../errors";

/** The refusal of a delta that was given as a model, and the way to load it. */
export function deltaRefused(path: string): KpopError {
  return new KpopError(
    "UNSUPPORTED_FORMAT",
    `${path} is a delta: it holds only what an erasure changed. Give the model that was erased from, and this path as its ` +
      `delta: StableDiffusion.load(model, { delta }), or MODEL --delta ${path} on the command line`,
  );
}

/** The refusal of a LoRA that was given as a model, and where to load it. */
export function loraRefused(path: string): KpopError {
  return new KpopError(
    "UNSUPPORTED_MODEL",
    `${path} is a LoRA: it holds a change alone. Load it onto its base with a tool that loads LoRAs (diffusers, WebUI, ` +
      'ComfyUI); to go on here, save the erasure in the format "diffusers", "single-file" or "delta"',
  );
}
