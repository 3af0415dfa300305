import { basename } from "node:path";
import type { RunManifest } from "../erasure/manifest";
import { allMetrics } from "../evaluation/metrics";
import { measuredOf } from "./measured";
import type { ReportedModel } from "./models";
import { text, type Block, type Section } from "./page/blocks";
import { number, seconds } from "./page/format";
import { attackTitle } from "./attacks";

/** The manifests, what judged, and the commands that made it all. */
export function makingSection(models: readonly ReportedModel[]): Section | null {
  const manifests = models.flatMap(({ title, look, erasure }): Block[] =>
    erasure === null
      ? []
      : [{ kind: "details", title: `${title}: ${erasure.folder}`, look, blocks: manifestBlocks(erasure.manifest) }],
  ); // prettier-ignore
  const judges = judgesOf(models);
  const commands = commandsOf(models);
  const blocks: Block[] = [
    ...(commands.length === 0
      ? [text("The commands were not kept: this was made by other programs than kpop-native's own.")]
      : [{ kind: "code", lines: commands } as const]),
    ...manifests,
    ...(judges.length === 0 ? [] : [{ kind: "details", title: "What judged the pictures", blocks: judges } as const]), // prettier-ignore
  ];
  return { id: "making", title: "How it was made", blocks };
}

/** In the order in which they are to run: what is measured was made before. */
function commandsOf(models: readonly ReportedModel[]): string[] {
  const given = [
    ...models.map(({ erasure }) => erasure?.log?.command),
    ...models.flatMap(({ plain, keyed }) => [...plain, ...keyed].map(({ evaluation }) => evaluation.command)),
    ...models.flatMap(({ attacks }) => attacks.map(({ attack }) => attack.command)),
    ...models.flatMap(({ attributions }) => attributions.map(({ command }) => command)),
  ];
  return [...new Set(given.filter((command) => command !== undefined && command !== null))];
}

function manifestBlocks(manifest: RunManifest): Block[] {
  const { options, neighbours, preserve, inputs, outputs, versions } = manifest;
  const facts: [string, string][] = [
    ["Method", `${manifest.method} (${manifest.reference})`],
    ["Concepts", manifest.concepts.join(", ")],
    ...(manifest.before ?? []).map(({ concepts, method }): [string, string] => ["Erased before", `${concepts.join(", ")} (${method})`]),
    ...(preserve.length === 0 ? [] : [["Preserved", preserve.join(", ")] as [string, string]]),
    ["Seed", String(manifest.seed)],
    ["Finished", manifest.finishedAt],
    ["Time", seconds(manifest.seconds)],
    ["UNet evaluations", number(manifest.unetEvaluations)],
    ["Versions", Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ")],
  ]; // prettier-ignore
  const listed = (of: Readonly<Record<string, unknown>>): [string, string][] =>
    Object.entries(of).map(([name, value]) => [
      name,
      typeof value === "string" ? value : JSON.stringify(value),
    ]);
  return [
    { kind: "facts", facts },
    { kind: "details", title: "Options", blocks: [{ kind: "facts", facts: listed(options) }] },
    ...(neighbours.length === 0 ? [] : [folded(`${neighbours.length} neighbours that were held`, [text(neighbours.join(", "))])]), // prettier-ignore
    folded("Files of the original, SHA-256", [{ kind: "facts", facts: listed(inputs) }]),
    folded("Files of the result, SHA-256", [{ kind: "facts", facts: listed(outputs) }]),
  ];
}

function folded(title: string, blocks: readonly Block[]): Block {
  return { kind: "details", title, blocks };
}

function judgesOf(models: readonly ReportedModel[]): Block[] {
  const facts = new Map<string, readonly [string, string]>();
  for (const { source } of measuredOf(models)) {
    const { classifier, crossClassifier, clip, metrics = {} } = source.evaluation;
    const title = (name: string): string => allMetrics().find((one) => one.name === name)?.title ?? name;
    const judges = [
      ["Classifier", classifier] as const,
      ["Classifier of other domains", crossClassifier] as const,
      ["CLIP", clip] as const,
      ...Object.entries(metrics).map(([name, { judge }]) => [title(name), judge] as const),
    ];
    for (const [role, judge] of judges) {
      if (judge === undefined) continue;
      const hash = judge.sha256 ?? "the caller's own, without a hash";
      const name = `${role}: ${basename(judge.origin)}`;
      facts.set(`${name} ${hash}`, [name, hash]);
    }
  }
  return facts.size === 0 ? [] : [{ kind: "facts", facts: [...facts.values()] }];
}

/** What the page is about, in a few words. */
export function titleOf(models: readonly ReportedModel[]): string {
  const erased = models.flatMap(({ title, erasure }) => (erasure === null ? [] : [{ title, ...erasure }]));
  const concepts = [...new Set(erased.flatMap(({ manifest }) => manifest.concepts))];
  if (erased.length === 0) {
    const attacked = models.flatMap(({ attacks }) => attacks.map(({ attack }) => attackTitle(attack.method)));
    const evaluated = new Set(measuredOf(models).map(({ title }) => title)).size;
    if (evaluated > 1) return `${evaluated} models compared`;
    return attacked.length > 0 && evaluated === 0 ? "An attack" : "An evaluation";
  }
  return erased.length === 1
    ? `Erased: ${concepts.join(", ")}`
    : `Erased in ${erased.length} ways: ${concepts.join(", ")}`;
}
