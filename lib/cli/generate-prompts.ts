import { join } from "node:path";
import type { GenerateOptions, PromptKey, PromptRow, StableDiffusion } from "../index";
import { makeFolder, readPrompts } from "../internal";
import { emit, print } from "./output";
import { Progress } from "./progress";

/** A picture for a row of a prompt file, in a folder. */
export interface RowPicture {
  readonly path: string;
  readonly prompt: string;
  readonly options: GenerateOptions;
}

/** What a prompt file asks for, each picture named by its case number, or its place. Options that are given hold for all. */
export async function planPrompts(
  file: string,
  { column, out }: { column: string | undefined; out: string },
  given: GenerateOptions,
): Promise<RowPicture[]> {
  const rows = await readPrompts(file, { column, fill: (name) => `a photo of a ${name}` });
  const names = namesOf(rows);
  await makeFolder(out);
  return rows.map(({ prompt, seed, guidanceScale, width, height }, i) => ({
    path: join(out, `${names[i]!}.png`),
    prompt,
    options: {
      ...(guidanceScale === undefined ? {} : { guidanceScale }),
      ...(width === undefined ? {} : { width }),
      ...(height === undefined ? {} : { height }),
      ...given,
      seed: seed ?? (given.seed ?? 0) + i,
    },
  }));
}

/** Draws them one by one, each written as it is complete. */
export async function drawPrompts(
  diffusion: StableDiffusion,
  pictures: readonly RowPicture[],
  { signal, json, key }: { signal: AbortSignal; json: boolean; key?: PromptKey },
): Promise<void> {
  const progress = new Progress("picture", json);
  const started = performance.now();
  try {
    for (const [i, { path, prompt, options }] of pictures.entries()) {
      const [image] = await diffusion.generate(prompt, {
        ...options,
        ...(key === undefined ? {} : { key }),
        signal,
      });
      await image!.save(path);
      const { width, height } = image!;
      if (json) emit({ event: "image", path, width, height, prompt, seed: options.seed });
      else print(path);
      const each = (performance.now() - started) / 1000 / (i + 1);
      progress.update(i + 1, pictures.length, "", each * (pictures.length - i - 1));
    }
  } finally {
    progress.stop();
  }
}

/** Case numbers where they tell all rows apart and are fit for a file's name; else places, of one length. */
function namesOf(rows: readonly PromptRow[]): string[] {
  const cases = rows.flatMap((row) => (/^[\w.-]+$/.test(row.case ?? "") ? row.case! : []));
  if (new Set(cases).size === rows.length) return cases;
  return rows.map((_, i) => String(i).padStart(String(rows.length - 1).length, "0"));
}
