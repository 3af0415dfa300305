import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { UNet2DConditionModel, type ComputeDtype } from "../../lib/index";
import { stepCost } from "./floor";
import type { Cost } from "./costs";

const PROMPT_ROWS = 10;
const CA_BATCH = 4;

/** What an iteration of a method costs on the checkpoint in a diffusers folder; null where it is not counted. */
export async function costOf(method: string, folder: string, dtype: ComputeDtype): Promise<Cost | null> {
  const raw = await readConfig(folder, "unet");
  const text = await readConfig(folder, "text_encoder");
  const unet = new UNet2DConditionModel(raw);
  try {
    return stepCost(method, unet.config, {
      side: Number(raw["sample_size"]),
      tokens: Number(text["max_position_embeddings"]),
      promptRows: PROMPT_ROWS,
      caBatch: CA_BATCH,
      elementBytes: dtype === "float32" ? 4 : 2,
    });
  } finally {
    unet.dispose();
  }
}

async function readConfig(folder: string, network: string): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(join(folder, network, "config.json"), "utf8")) as Record<string, unknown>;
}
