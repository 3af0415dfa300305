import type { Section } from "../../lib/internal";
import { bytes, list, seconds, toHtml, toMarkdown } from "../../lib/internal";
import { titleOf } from "../entrants";
import type { Results } from "../results";
import { ablationsSection } from "./ablations";
import { digitsSection } from "./digits";
import { findings } from "./findings";
import { objectsSection } from "./objects";
import { optionText } from "./records";
import { recoverySection } from "./recovery";
import { robustnessSection } from "./robustness";
import { stylesSection } from "./styles";
import { trackingSection } from "./tracking";
import { tuningSection } from "./tuning";

/** report.html and tables.md of a run, from results.json alone. */
export function report(results: Results): { html: string; markdown: string } {
  const { settings } = results;
  const title = `Concept erasure on ${settings.protocol}${settings.quick ? ", quick run" : ""}`;
  const sections = [
    findingsSection(results),
    objectsSection(results),
    recoverySection(results),
    stylesSection(results),
    robustnessSection(results),
    ablationsSection(results),
    trackingSection(results),
    digitsSection(results),
    tuningSection(results),
    conditionsSection(results),
  ].filter((section) => section !== null);
  return { html: toHtml(title, subtitle(results), sections), markdown: toMarkdown(title, sections) };
}

function subtitle({ settings, startedAt, trials }: Results): string {
  const methods = settings.methods.map(titleOf).join(", ");
  return `${methods} and the original model; ${trials.length} trials, ${startedAt.slice(0, 10)}.`;
}

function findingsSection(results: Results): Section | null {
  const items = findings(results);
  if (results.settings.quick)
    items.push(
      "This was a quick run: few iterations and pictures, to see that everything works, not to judge by.",
    );
  return items.length === 0 ? null : { id: "findings", title: "What came out", blocks: [list(items)] };
}

function conditionsSection(results: Results): Section {
  const { settings, machine, trials, chosen } = results;
  const costs = trials.flatMap(({ cost }) => cost ?? []);
  const threads = [...new Set(costs.map((cost) => cost.threads))];
  const devices = [...new Set(costs.map((cost) => cost.device))];
  const options = Object.entries(chosen).flatMap(([method, name]) => {
    const trial = trials.find(({ spec }) => spec.name === name);
    return trial === undefined
      ? []
      : [`${titleOf(method)}: ${trial.spec.label} (${optionText(trial.spec.options)})`];
  });
  const total = trials.reduce((sum, { wallSeconds }) => sum + wallSeconds, 0);
  return {
    id: "conditions",
    title: "How it was run",
    blocks: [
      list([
        `Model ${settings.model}, ${settings.dtype}, on ${devices.join(", ") || settings.device}; classifier ${settings.classifier}.`,
        `Pictures: ${settings.imagesPerClass} a class, ${settings.steps} steps, guidance ${settings.guidanceScale}, seed ${settings.seed}.`,
        ...options,
        `${machine.cpu}, ${machine.cores} cores, ${bytes(machine.memoryBytes)}; ${threads.join(" or ")} thread(s) a trial; ` +
          `kpop-native ${machine.library}, Node ${machine.node}. All trials together took ${seconds(total)} of their own time.`,
        `Rows marked "published" are others' figures for Stable Diffusion 1.4 at full size. They are no measurements of ` +
          `ours, and not comparable in size with figures of another model.`,
      ]),
    ],
  };
}
