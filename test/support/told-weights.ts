import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { StableDiffusion } from "../../lib/diffusion/stable-diffusion";

/** What a script in test/fixtures/robust has written down of a training run. */
export interface ToldRun {
  options: Record<string, unknown>;
  losses: Record<string, number>[];
  /** The trained weights, in their order. */
  names: string[];
  /** Some elements of all those weights in a row, and how far they went. */
  elements: number[];
  moved: number[];
}

export function toldRun(name: string): ToldRun {
  const path = join(__dirname, "..", "fixtures", "robust", `${name}.json`);
  return JSON.parse(readFileSync(path, "utf8")) as ToldRun;
}

/** ‖Δ - Δ'‖ / ‖Δ'‖ of those elements. */
export async function toldError(
  { names, elements, moved }: ToldRun,
  actual: StableDiffusion,
  start: StableDiffusion,
): Promise<number> {
  const flat = async (model: StableDiffusion): Promise<number[]> => {
    const each = names.map(async (name) => Array.from(await model.unet.parameter(name).data(), Number));
    return (await Promise.all(each)).flat();
  };
  const [after, before] = [await flat(actual), await flat(start)];
  const error = elements.map((at, i) => after[at]! - before[at]! - moved[i]!);
  return Math.hypot(...error) / Math.hypot(...moved);
}
