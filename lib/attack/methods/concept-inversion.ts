import { nonEmptyString } from "../../check";
import {
  INVERSION_DEFAULTS,
  parseOpenInversionOptions,
  type OpenInversionOptions,
} from "../../inversion/inversion-options";
import { invert } from "../../inversion/invert";
import type { AttackMethod } from "../method";
import { inversionHelp, inversionRun } from "./inversion-run";

/** Options of concept inversion. */
export interface ConceptInversionOptions extends Partial<OpenInversionOptions> {
  method?: "concept-inversion";
  /** Text whose embeddings the learned one starts from. Default "art". */
  initial?: string;
}

type Parsed = Required<Omit<ConceptInversionOptions, "method">>;

const defaults: Readonly<Parsed> = Object.freeze({ ...INVERSION_DEFAULTS, initial: "art" });

/**
 * Concept inversion (arXiv 2308.01508): textual inversion on the erased model, from pictures of the concept. What comes
 * back under the learned embedding was hidden from the concept's name, not removed.
 */
export const conceptInversion: AttackMethod<Parsed> = {
  name: "concept-inversion",
  reference: "arXiv 2308.01508",
  summary: "learns an embedding from pictures of the concept",
  needsPictures: true,
  defaults,
  help: { ...inversionHelp, initial: "text whose embedding it starts from" },
  parse(given, model) {
    const { initial = defaults.initial } = given as Partial<Parsed>;
    nonEmptyString("initial", initial);
    return { ...parseOpenInversionOptions(given, model), initial };
  },
  async run(context, options) {
    const { model, template, evaluations } = context;
    const found = await invert(model, {
      ...inversionRun(context),
      ...options,
      templates: [...options.templates],
    });
    evaluations.add(found.record!.unetEvaluations);
    return [{ name: found.token, prompt: template.replace("{}", () => found.token), tokens: [found] }];
  },
};
