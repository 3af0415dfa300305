import { erase } from "../../lib/erasure/erase";
import type { Erasure } from "../../lib/erasure/erasure";
import type { CustomLatents } from "../../lib/erasure/shared/custom-source";
import type { GoldenModel } from "./golden-model";

/** z_t and t of the reference's KPOP iterations, in their order. */
export async function* goldenLatents({ expected }: GoldenModel): AsyncGenerator<CustomLatents> {
  const latents = expected("kpop.latents"); // (4, 1, 4, 16, 16)
  const timesteps = Array.from(await expected("kpop.timesteps").data(), Number);
  for (const [i, timestep] of timesteps.entries())
    yield { latents: latents.slice(0, i, i + 1).squeeze(0), timestep };
}

/** The reference's four iterations of KPOP on a golden checkpoint. */
export function goldenKpop(reference: GoldenModel): Promise<Erasure> {
  return erase(reference.model, {
    concepts: "church",
    neutral: "a photo",
    neighbours: "off",
    iterations: 4,
    learningRate: 1e-4,
    promptLearningRate: 1e-2,
    lambda: 0.1,
    prompt: { init: reference.expected("kpop.prompt.init") },
    latents: goldenLatents(reference),
  });
}
