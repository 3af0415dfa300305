import { join } from "node:path";
import { StableDiffusion } from "../../../lib/index";
import { peakBytes } from "../../machine";
import { ROOT } from "../../root";
import { time, type Measurement, type SpeedCase } from "../case";

const TOGETHER = 8;
const REPEATS = 5;
const PROMPT = "a photo of a church";
const DRAWING = { steps: 12, guidanceScale: 3, seed: 0, sampler: "ddim" } as const;

/** Whole pictures of the built-in model, prompt to pixels: one, and eight at once. */
export function picturesCase(): SpeedCase {
  const { steps, guidanceScale } = DRAWING;
  const path = join(ROOT, "models", "pocket");
  return {
    name: "pictures",
    title: `pocket, DDIM, ${steps} steps, guidance ${guidanceScale}`,
    run: () => measure(path),
    peer: {
      script: "pictures.py",
      arguments: [path, PROMPT, ...[steps, guidanceScale, TOGETHER, REPEATS].map(String)],
    },
  };
}

async function measure(path: string): Promise<Measurement> {
  const model = await StableDiffusion.load(path);
  const one = await time(async () => void (await model.generate(PROMPT, DRAWING)), REPEATS);
  const eight = await time(async () => {
    await model.generate(PROMPT, { ...DRAWING, count: TOGETHER, batchSize: TOGETHER });
  }, REPEATS);
  return {
    seconds: { "one picture": one, [`${TOGETHER} together`]: eight },
    figures: {
      "pictures per second, one by one": 1 / one,
      "pictures per second, together": TOGETHER / eight,
    },
    peakBytes: peakBytes(),
  };
}
