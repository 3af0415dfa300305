import { join } from "node:path";
import * as safetensors from "../io/safetensors";
import { Inversion } from "../inversion/inversion";
import type { AttackInput } from "./input";
import type { Verdict } from "./target";

/** The learned parts of an input, in files that `Inversion.load`, `PromptKey.load`, `applyLora` and other tools read. */
export async function saveInput(
  directory: string,
  { name, tokens = [], key, latents, lora }: AttackInput,
): Promise<void> {
  const path = join(directory, `${fileName(name)}.safetensors`);
  for (const token of tokens) {
    if (token instanceof Inversion) await token.save(path);
    else await safetensors.save(path, { [token.token]: token.embeddings }, { format: "pt" });
  }
  await key?.save(path);
  if (latents !== undefined) await safetensors.save(path, { latents }, { format: "pt" });
  await lora?.save(join(directory, `${fileName(name)}-lora.safetensors`));
}

/** A measured picture, NAME-SEED.png. @returns its file's name */
export async function savePicture(
  directory: string,
  { name }: AttackInput,
  { image, seed }: Verdict,
): Promise<string> {
  const file = `${fileName(name)}-${seed}.png`;
  await image.save(join(directory, file));
  return file;
}

function fileName(name: string): string {
  return (name.toLowerCase().match(/[a-z0-9.]+/g) ?? ["input"]).join("-");
}
