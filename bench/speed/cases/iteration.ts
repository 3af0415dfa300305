import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { erase, StableDiffusion, type KpopOptions } from "../../../lib/index";
import { writeFullSize } from "../../gpu/full-size";
import { peakBytes } from "../../machine";
import { median } from "../../statistics";
import type { Measurement, SpeedCase } from "../case";

const FOLDER = join(tmpdir(), "kpop-bench-full-size");
/** The first one fills caches and lays weights out. */
const WARMUP = 1;
const TIMED = 2;

/** KPOP's prompt as published, and in the form that is the default; all else is equal. */
const FORMS = {
  free: { form: "free", mechanism: "concat", size: 10, layers: "mid" },
  amortised: { form: "amortised" },
} as const;

/** One iteration on the random weights of Stable Diffusion 1.4's architecture, 64×64 latents. */
export function iterationCase(form: keyof typeof FORMS, kept: "off" | "nearest"): SpeedCase {
  const beside = kept === "off" ? "" : ", beside neighbours";
  return {
    name: `iteration-${form}${kept === "off" ? "" : "-neighbours"}`,
    title: `an iteration of KPOP at SD-1.4's size, ${form} prompt${beside}`,
    run: () => measure({ prompt: FORMS[form], neighbours: kept }),
    ...(form === "free" && kept === "off"
      ? { peer: { script: "../../gpu/peers/methods.py", arguments: [JSON.stringify(peerTrial())] } }
      : {}),
  };
}

function peerTrial() {
  return {
    method: "kpop",
    model: FOLDER,
    device: "cpu",
    dtype: "float32",
    warmup: WARMUP,
    iterations: TIMED,
  };
}

/** Writes the checkpoint that both sides read. */
export async function prepareIteration(): Promise<void> {
  if (!existsSync(join(FOLDER, "model_index.json"))) await writeFullSize(FOLDER);
}

async function measure(own: Required<Pick<KpopOptions, "prompt" | "neighbours">>): Promise<Measurement> {
  using model = await StableDiffusion.load(FOLDER, { dtype: "float32" });
  const options: KpopOptions = {
    concepts: "church",
    // Equal for both forms: what each trains by default differs.
    ...{ parameters: "xattn", target: "neutral", templates: ["{}"], learningRate: 1e-5 },
    poolSize: 1,
    ...own,
    iterations: WARMUP + TIMED,
  };
  const seconds: number[] = [];
  let last = performance.now();
  using erasure = await erase(model, {
    ...options,
    // A step ends when its losses have been read.
    onStep({ iteration }) {
      const now = performance.now();
      if (iteration > WARMUP) seconds.push((now - last) / 1000);
      console.error(`iteration ${iteration}: ${((now - last) / 1000).toFixed(1)} s`);
      last = now;
    },
  });
  return {
    seconds: { iteration: median(seconds) },
    figures: { "evaluations, the pool's start among them": erasure.manifest.unetEvaluations },
    peakBytes: peakBytes(),
  };
}
