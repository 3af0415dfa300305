import { basename } from "node:path";
import { frontMatter, type Yaml } from "../files/front-matter";
import type { BaseCard } from "./base-card";
import type { RunManifest } from "./manifest";

/** Name of a model's description beside its weights, which hubs show. */
export const MODEL_CARD_FILE = "README.md";

/** Neighbours that are told by name. */
const TOLD = 8;

/** One figure, in percent where it is a rate. */
export interface CardMetric {
  /** "esr-1". */
  type: string;
  /** "ESR-1 of church". */
  name: string;
  value: number;
  /** Its 95 % interval; null where one figure alone has none. */
  interval: readonly [low: number, high: number] | null;
  /** Pictures that it is of. */
  total: number;
}

/** What was measured on one set of pictures. */
export interface CardResult {
  /** What the pictures are of. */
  dataset: string;
  metrics: readonly CardMetric[];
}

/** What a card tells beside the run. */
export interface CardDetails extends BaseCard {
  /** What the model is called in its results. */
  name?: string;
  /** What the files are where they are no whole model. Default: they are one. */
  change?: "delta" | "LoRA";
  results?: readonly CardResult[];
  /** The certificate that has the figures: its file, and who signed it. */
  certificate?: { file: string; keyid: string };
}

/**
 * What a saved model is, in Markdown, with the YAML front matter that Hugging Face's hub reads: base, licence, tags, and
 * results as a model-index. It is the same whenever and wherever the run is repeated.
 * @param base path of the checkpoint that the run started from; its last part is told, or its name on the hub
 */
export function modelCard(
  manifest: Omit<RunManifest, "inputs" | "outputs">,
  base: string,
  details: CardDetails = {},
): string {
  const { method, reference, concepts, preserve, neighbours = [], iterations, seed } = manifest;
  const { changedParameters, versions, hub, before = [] } = manifest;
  const { results = [], certificate, licence, hubName, change } = details;
  const name = text(hubName ?? basename(base));
  const facts = [
    ["base", hub === undefined ? name : `${name}, commit ${text(hub.revision)}`],
    ["erased", concepts.map(quoted).join(", ")],
    [
      "erased before",
      before
        .map((run) => `${run.concepts.map(quoted).join(", ")} by ${text(run.method)}, seed ${run.seed}`)
        .join("; "),
    ],
    ["preserved by name", preserve.map(quoted).join(", ")],
    ["kept as neighbours", few(neighbours)],
    ["method", `${text(method)}, ${text(reference)}`],
    [
      "run",
      `${iterations > 0 ? `${iterations} iterations, ` : ""}seed ${seed}, ${changedParameters} parameters changed`,
    ],
    ["made by", `kpop-native ${versions["kpop-native"]}, libtorch ${versions.libtorch}`],
  ].filter(([, value]) => value !== "");
  const terms = licence === undefined ? "" : ` (${text(licence.license_name ?? licence.license)})`;
  return `${frontMatter(metadata(manifest, details))}
# ${name} without ${[...before.flatMap((run) => run.concepts), ...concepts].map(quoted).join(", ")}

${change === undefined ? "A Stable Diffusion checkpoint from which concepts were erased." : `What changed in ${name} when concepts were erased from it, as a ${change}: it applies onto that model.`}

|   |   |
|---|---|
${facts.map(([fact, value]) => `| ${fact} | ${value} |`).join("\n")}

\`kpop-run.json\` has every option, and the SHA-256 of the base's files and of these. The terms of the base's licence${terms} hold for this model too.

## Limits

- The concepts were erased under the names above. Other words and languages, prompts that are searched or learned for the purpose, and training can bring them back.
- What lies near to them may be drawn worse than before.
- ${results.length === 0 ? "Nothing was measured here." : "What was measured below holds for those prompts, seeds and that classifier."}
- Whoever has the base, or a key of this erasure, can draw the concepts. This is no safety mechanism by itself.
${measured(results)}${certified(certificate)}`;
}

function metadata(
  { method }: Pick<RunManifest, "method">,
  { licence, hubName, change, results = [], name = "model" }: CardDetails,
): Record<string, Yaml> {
  const index = results.map(({ dataset, metrics }) => ({
    task: { type: "text-to-image", name: "Text-to-Image" },
    dataset: { type: "kpop-native-evaluate", name: dataset },
    metrics: metrics.map((metric) => ({
      type: metric.type,
      name: `${metric.name}${metric.interval === null ? "" : `, 95 % interval ${between(metric.interval)}`}`,
      value: Number(metric.value.toFixed(1)),
    })),
  }));
  return {
    ...licence,
    ...(hubName === undefined
      ? {}
      : { base_model: hubName, base_model_relation: change === undefined ? "finetune" : "adapter" }),
    library_name: change === "delta" ? "kpop-native" : "diffusers",
    pipeline_tag: "text-to-image",
    tags: ["stable-diffusion", "text-to-image", "concept-erasure", "kpop-native", method],
    ...(index.length === 0 ? {} : { "model-index": [{ name, results: index }] }),
  };
}

function measured(results: readonly CardResult[]): string {
  if (results.length === 0) return "";
  const tables = results.map(({ dataset, metrics }) => {
    const rows = metrics.map(({ name, value, interval, total }) =>
      [text(name), value.toFixed(1), interval === null ? "" : between(interval), String(total)].join(" | "),
    );
    const head = ["| measure | % or score | 95 % interval | pictures |", "|---|---|---|---|"];
    return [`${text(dataset)}:`, "", ...head, ...rows.map((row) => `| ${row} |`)].join("\n");
  });
  const words =
    "ESR-k is the share of pictures of erased classes that the classifier does not put among its first k, PSR-k the share of pictures of preserved classes that it does.";
  return `\n## Results\n\n${words}\n\n${tables.join("\n\n")}\n`;
}

function certified(certificate: CardDetails["certificate"]): string {
  if (certificate === undefined) return "";
  const { file, keyid } = certificate;
  return `\n## Certificate\n\nThese figures, the weights and the pictures are bound by ${text(file)}, signed with the Ed25519 key ${keyid}. \`kpop-native verify\` checks it.\n`;
}

function between([low, high]: readonly [number, number]): string {
  return `${low.toFixed(1)} to ${high.toFixed(1)}`;
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
