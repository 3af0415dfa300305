import { erase, evaluate, StableDiffusion } from "../../../lib/index";
import { peakBytes } from "../../machine";
import type { Measurement, SpeedCase } from "../case";

const PRESERVED = ["dog", "fish", "delivery truck", "parachute"];

/** A whole KPOP run on the built-in model with the library's defaults, by where z_t comes from. */
export function latentsCase(latents: "pool" | "restart"): SpeedCase {
  return {
    name: `latents-${latents}`,
    title: `1000 KPOP iterations on pocket, latents "${latents}"`,
    run: () => measure(latents),
  };
}

async function measure(latents: "pool" | "restart"): Promise<Measurement> {
  const model = await StableDiffusion.load("pocket", { device: "cpu" });
  const erasure = await erase(model, { concepts: "church", iterations: 1000, latents });
  const last = erasure.history.slice(-200);
  const { esr, psr } = await evaluate(erasure.model, {
    ...{ erased: ["church"], preserved: PRESERVED, classifier: "pocket" },
    ...{ imagesPerClass: 24, steps: 20, guidanceScale: 3, seed: 1 },
  });
  const mean = (name: string): number =>
    last.reduce((sum, { losses }) => sum + losses[name]!, 0) / last.length;
  return {
    seconds: { run: erasure.manifest.seconds },
    figures: {
      "UNet evaluations": erasure.manifest.unetEvaluations,
      "transfer, last 200": mean("transfer"),
      "erase, last 200": mean("erase"),
      "recover, last 200": mean("recover"),
      "ESR-1 (%)": 100 * esr[1]!.value,
      "PSR-1 (%)": 100 * psr[1]!.value,
    },
    peakBytes: peakBytes(),
  };
}
