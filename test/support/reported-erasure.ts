import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { attack } from "../../lib/attack/attack";
import { PromptKey } from "../../lib/diffusion/prompt-key";
import { attribution } from "../../lib/evaluation/attribution";
import { certifiableErasure } from "./certified-erasure";
import { discPicture } from "./pictures";
import { temporaryDirectory } from "./temporary-directory";

/** An erasure with all that a page is made of: folders as the commands leave them. */
export interface ReportableErasure {
  result: string;
  original: string;
  measured: string;
  recovered: string;
  attacked: string;
  attended: string;
  /** All of them. */
  folders: string[];
}

/** Erases "church" from the golden checkpoint, and measures and attacks it with a few small pictures. */
export async function reportableErasure(): Promise<ReportableErasure> {
  const made = await certifiableErasure();
  const { base, result, measured, classifier } = made;
  using key = await PromptKey.load(made.key, { anyModel: true });
  const original = await made.evaluate(base, { command: "kpop-native evaluate base" });
  const recovered = await made.evaluate(result, { key });
  const attacked = join(temporaryDirectory(), "attacked");
  const found = await attack(result, {
    ...{ concept: "church", classifier, directory: attacked, command: "kpop-native attack no-church" },
    ...{ images: [0, 30].map((seed) => discPicture(32, 32, seed)), iterations: 3, batchSize: 1 },
    ...{ imagesPerInput: 2, steps: 2, guidanceScale: 2 },
  });
  found.dispose();
  const attended = join(temporaryDirectory(), "attended");
  const drawing = { steps: 2, width: 32, height: 32, words: ["church"], heads: true };
  await attribution(result, "a photo of a church", { directory: attended, ...drawing });
  const folders = [result, original, measured, recovered, attacked, attended];
  return { result, original, measured, recovered, attacked, attended, folders };
}

/** Changes a JSON file. */
export function editJson(path: string, change: (content: Record<string, never>) => void): void {
  const content = JSON.parse(readFileSync(path, "utf8")) as Record<string, never>;
  change(content);
  writeFileSync(path, JSON.stringify(content));
}
