import { inversion } from "../../inversion/inversion-options";
import { invert } from "../../inversion/invert";
import { text } from "../../options/kinds";
import { defineAttack, type AttackOptionsOf } from "../method";

/**
 * Concept inversion (arXiv 2308.01508): textual inversion on the erased model, from pictures of the concept. What comes
 * back under the learned embedding was hidden from the concept's name, not removed.
 */
export const conceptInversion = defineAttack({
  name: "concept-inversion",
  title: "Concept inversion",
  reference: "arXiv 2308.01508",
  short: "learns an embedding from pictures of the concept",
  finds: "an embedding",
  needsPictures: true,
  cost: "1 UNet evaluation a noisy picture and update, 4,000 with its defaults",
  options: {
    ...inversion(),
    /** Text whose embeddings the learned one starts from. Default "art". */
    initial: text("art", "text whose embedding it starts from"),
  },
  async run(job, o) {
    const found = await invert(job.model, { ...job.asInversion(), ...o, templates: [...o.templates] });
    return [{ name: found.token, prompt: job.template.replace("{}", () => found.token), tokens: [found] }];
  },
});

/** Options of concept inversion. @interface */
export type ConceptInversionOptions = Omit<AttackOptionsOf<typeof conceptInversion>, "method"> & {
  method?: "concept-inversion";
};
