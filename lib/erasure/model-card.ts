import { basename } from "node:path";
import type { RunManifest } from "./manifest";

/** Name of a model's description beside its weights, which hubs show. */
export const MODEL_CARD_FILE = "README.md";

/** Neighbours that are told by name. */
const TOLD = 8;

/** What a saved model is, in Markdown. It is the same whenever and wherever the run is repeated.
 *  @param base path of the checkpoint that the run started from; its last part is told */
export function modelCard(manifest: RunManifest, base: string): string {
  const { method, reference, concepts, preserve, neighbours = [], iterations, seed } = manifest;
  const { changedParameters, versions } = manifest;
  const facts = [
    ["base", text(basename(base))],
    ["erased", concepts.map(quoted).join(", ")],
    ["preserved by name", preserve.map(quoted).join(", ")],
    ["kept as neighbours", few(neighbours)],
    ["method", `${text(method)}, ${text(reference)}`],
    [
      "run",
      `${iterations > 0 ? `${iterations} iterations, ` : ""}seed ${seed}, ${changedParameters} parameters changed`,
    ],
    ["made by", `kpop-native ${versions["kpop-native"]}, libtorch ${versions.libtorch}`],
  ].filter(([, value]) => value !== "");
  return `# ${text(basename(base))} without ${concepts.map(quoted).join(", ")}

A Stable Diffusion checkpoint from which concepts were erased.

|   |   |
|---|---|
${facts.map(([name, value]) => `| ${name} | ${value} |`).join("\n")}

\`kpop-run.json\` has every option, and the SHA-256 of the base's files and of these. The terms of the base's licence hold for this model too.
`;
}

/** The first of some words, and how many there are. */
function few(words: readonly string[]): string {
  const told = words.slice(0, TOLD).map(quoted).join(", ");
  return words.length <= TOLD ? told : `${told} and ${words.length - TOLD} more`;
}

function quoted(words: string): string {
  return `"${text(words)}"`;
}

/** One line that Markdown takes as it stands. */
function text(words: string): string {
  return words.replace(/\p{C}|\s+/gu, " ").replace(/[\\`*_[\]<>|#~]/g, "\\$&");
}
