import { Image, StableDiffusion } from "../../lib/index";
import { EMOJINETTE, STYLES } from "./concepts";
import { SIDE } from "./pictures";

const COLUMNS = 10;
const PROMPTS: readonly string[] = [
  ...EMOJINETTE.map((name) => `a photo of a ${name}`),
  ...STYLES.map(({ name }) => `a church in ${name} style`),
  ...STYLES.map(({ name }) => `a penguin in ${name} style`),
];

/** Draws the ten classes as photos, and one of them and a further concept in every style, into one picture. */
export async function drawSamples(checkpoint: string, path: string): Promise<void> {
  const model = await StableDiffusion.load(checkpoint, { device: "cpu" });
  const images = await model.generate(PROMPTS, { steps: 20, guidanceScale: 3, sampler: "ddim", seed: 1 });
  model.dispose();
  const rows = images.length / COLUMNS;
  const sheet = new Uint8Array(images.length * SIDE * SIDE * 3);
  for (const [index, { data }] of images.entries()) {
    const [row, column] = [Math.floor(index / COLUMNS), index % COLUMNS];
    for (let y = 0; y < SIDE; y++) {
      const target = ((row * SIDE + y) * COLUMNS + column) * SIDE * 3;
      sheet.set(data.subarray(y * SIDE * 3, (y + 1) * SIDE * 3), target);
    }
  }
  await new Image(COLUMNS * SIDE, rows * SIDE, sheet).save(path);
}
