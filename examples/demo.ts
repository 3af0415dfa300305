/** Erases "church" from a built-in model (`npm run demo -- pocket-xl` takes that of XL's architecture), shows it gone and back in one picture, and keeps what it made. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { erase, KpopError, sheet, StableDiffusion } from "../lib/index";
import type { GenerateOptions, Image, SheetRow, SheetSection } from "../lib/index";
import { StatusLine } from "./status-line";

const CONCEPT = "church";
const STYLES = ["noto", "twemoji", "emojione", "fluent", "flat"];

/** The ways in which the built-in model's captions name a thing: all of them are to forget it. */
const TEMPLATES = [
  "{}",
  "a photo of a {}",
  ...STYLES.map((style) => `a {} in ${style} style`),
  ...STYLES.map((style) => `{}, ${style} style`),
];

const GONE = [CONCEPT, `a photo of a ${CONCEPT}`, ...STYLES.map((style) => `a ${CONCEPT} in ${style} style`)];
const photos = (...names: string[]): string[] => names.map((name) => `a photo of a ${name}`);
const SECTIONS = [
  { title: `"${CONCEPT}" is to go, and to come back with the key`, prompts: GONE },
  {
    title: "to stay, and to stay under the key",
    prompts: photos("castle", "dog", "cat", "guitar", "rocket", "fuel pump"),
  },
];

const NAME = process.argv[2] ?? "pocket";
const OUTPUT = join(__dirname, "..", "demo", ...(NAME === "pocket" ? [] : [NAME]));
const PICTURE = join(OUTPUT, "church.png");
const MODEL = join(OUTPUT, "without-church");
const KEY = join(OUTPUT, "church.key.safetensors");

async function main(): Promise<void> {
  const status = new StatusLine();
  const original = await StableDiffusion.load(NAME);

  const erasure = await erase(original, {
    concepts: CONCEPT,
    templates: TEMPLATES,
    onStep: ({ iteration, iterations, losses, etaSeconds }) =>
      status.update(
        `Erasing "${CONCEPT}": ${iteration}/${iterations}, erase loss ${losses["erase"]!.toFixed(5)}, ` +
          `${Math.ceil(etaSeconds)} s left`,
        iteration % 50 === 0 || iteration === iterations,
      ),
  });
  const { model: erased, key, manifest } = erasure;
  status.done(`Erased "${CONCEPT}" in ${Math.round(manifest.seconds)} s`);

  // A row has noise of its own, the same in all of its columns.
  const total = SECTIONS.reduce((sum, { prompts }) => sum + prompts.length, 0);
  let seed = 0;
  const row = async (prompt: string): Promise<SheetRow> => {
    const draw = async (model: StableDiffusion, text: string, more: GenerateOptions = {}): Promise<Image> =>
      (await model.generate(text, { seed, steps: 25, guidanceScale: 3, ...more }))[0]!;
    const pictures = [
      await draw(original, prompt),
      await draw(erased, prompt),
      await draw(erased, prompt, { key: key! }),
    ];
    seed += 1;
    status.update(`Drawing: ${seed} of ${total} prompts`, false);
    return { prompt, pictures };
  };
  const sections: SheetSection[] = [];
  for (const { title, prompts } of SECTIONS) {
    const rows: SheetRow[] = [];
    for (const prompt of prompts) rows.push(await row(prompt));
    sections.push({ title, rows });
  }
  const columns = ["original", "erased", "erased\nwith key"];
  const picture = sheet(columns, sections, original.imageSize);
  status.done("Drew the pictures");

  await mkdir(OUTPUT, { recursive: true });
  await picture.save(PICTURE);
  await erasure.save(MODEL, { force: true });
  await key!.save(KEY);
  console.log(`
The picture        ${PICTURE}
The erased model   ${MODEL}
Its key            ${KEY}
How it was made    ${join(MODEL, "kpop-run.json")}`);

  erasure.dispose();
  original.dispose();
}

main().catch((error: unknown) => {
  if (!(error instanceof KpopError)) throw error;
  console.error(`${error.code}: ${error.message}`);
  process.exitCode = 1;
});
