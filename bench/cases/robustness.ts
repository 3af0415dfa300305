import { join } from "node:path";
import { attack, type AttackOptions, type AttackResult } from "../../lib/index";
import { merge } from "../method-options";
import type { AttackTrial } from "../protocols/protocol";
import { countClasses } from "../measure/classes";
import { eraseFor } from "../measure/erasure";
import { ORIGINAL, type AttackFigures, type TrialOutcome, type TrialSpec } from "../results";
import { trialSpec, type Case, type PlanContext, type TrialContext } from "./case";

/** Methods × attacks: how far one erased concept comes back when inputs are looked for that bring it back. */
export const robustness: Case = { trials, measure };

function trials({ protocol, settings, optionsOf }: PlanContext): TrialSpec[] {
  if (protocol.robustness === null) return [];
  const { concept, also } = protocol.robustness;
  const compared = settings.quick ? settings.methods.slice(0, 1) : settings.methods;
  const methods = [ORIGINAL, ...new Set([...compared, ...also])];
  return methods.map((method) =>
    trialSpec({
      name: `robustness-${method}`,
      experiment: "robustness",
      method,
      label: concept,
      options: method === ORIGINAL ? {} : optionsOf(method),
      erased: [concept],
      preserved: protocol.classes.filter((name) => name !== concept),
      split: "one concept",
      imagesPerClass: settings.imagesPerClass,
    }),
  );
}

async function measure(context: TrialContext): Promise<TrialOutcome> {
  const { spec, settings, protocol, shared, work, log } = context;
  const { concept, attacks, pictures } = protocol.robustness!;
  using subject = await eraseFor(context, spec.erased);
  const { model, key, cost } = subject;
  const counts = await countClasses(context, model);
  const figures: AttackFigures[] = [];
  for (const trial of attacks) {
    const { name, label, options, quick, onlyWithKey = false } = trial;
    if (onlyWithKey && key === undefined) continue;
    const told = label === undefined ? name : `${name} ${label}`;
    log(`attacking with ${told}`);
    const result = await attack(model, {
      method: name,
      concept,
      ...merge(options, settings.quick ? quick : {}),
      classifier: settings.classifier,
      original: settings.model,
      pictures,
      prompt: protocol.prompt,
      imagesPerInput: spec.imagesPerClass,
      steps: settings.steps,
      guidanceScale: settings.guidanceScale,
      seed: settings.seed,
      cacheDirectory: join(shared, "images"),
      checkpoint: { directory: join(work, told.replaceAll(" ", "-")), every: 100 },
      resume: true,
    } as AttackOptions);
    figures.push(...figuresOf(trial, result));
    result.dispose();
  }
  return { counts, attacks: figures, ...(cost === undefined ? {} : { cost }) };
}

/** An attack in figures, or each of its inputs. */
export function figuresOf(trial: AttackTrial, result: AttackResult): AttackFigures[] {
  const { name, label, byInput = false, onlyWithKey = false, apart = onlyWithKey } = trial;
  const count = ({ hits, total }: { hits: number; total: number }) => ({ hits, total });
  const common = {
    attack: name,
    ...(apart ? { apart } : {}),
    before: count(result.before),
    unetEvaluations: result.unetEvaluations,
    seconds: result.seconds,
  };
  const named = (own: string | undefined) => (own === undefined ? {} : { label: own });
  if (byInput)
    return result.inputs.map(({ name: input, rate }) => ({
      ...common,
      ...named([label, input].filter((part) => part !== undefined).join(", ")),
      after: count(rate),
      inputs: [],
    }));
  const inputs = result.inputs.map(({ name: input, band, text, rate }) => ({
    name: input,
    ...(band === undefined ? {} : { band: [band[0], band[1]] as [number, number] }),
    ...(text === undefined ? {} : { text }),
    ...count(rate),
  }));
  return [{ ...common, ...named(label), after: count(result.after), inputs }];
}
