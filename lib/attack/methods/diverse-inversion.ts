import {
  INVERSION_DEFAULTS,
  parseOpenInversionOptions,
  type OpenInversionOptions,
} from "../../inversion/inversion-options";
import {
  DIVERSITY_DEFAULTS,
  invertDiverse,
  parseDiversityOptions,
  type DiversityOptions,
} from "../../inversion/invert-diverse";
import type { AttackMethod } from "../method";
import { inversionHelp, inversionRun } from "./inversion-run";

/** Options of Diverse Inversion as an attack. */
export interface DiverseInversionOptions extends Partial<OpenInversionOptions>, Partial<DiversityOptions> {
  method: "diverse-inversion";
}

type Parsed = OpenInversionOptions & DiversityOptions;

/**
 * Diverse Inversion (arXiv 2404.03631): embeddings held between cosines with the concept's own. An erasure is safe from
 * any input only if those of all bands fail; one that looks at the name alone fails far from it.
 */
export const diverseInversion: AttackMethod<Parsed> = {
  name: "diverse-inversion",
  reference: "arXiv 2404.03631",
  summary: "learns embeddings at chosen cosines with the concept's own, band by band",
  needsPictures: true,
  defaults: Object.freeze({ ...INVERSION_DEFAULTS, ...DIVERSITY_DEFAULTS }),
  help: {
    ...inversionHelp,
    bands: "cosines FROM:TO between which embeddings are held; repeatable",
    perBand: "embeddings in each band",
    similarityWeight: "weight of the embeddings' mutual similarity in the loss",
    similarityMargin: "cosine of two embeddings from which on it costs",
  },
  parse: (given, model) => ({ ...parseOpenInversionOptions(given, model), ...parseDiversityOptions(given) }),
  async run(context, options) {
    const { model, concept, template, evaluations } = context;
    const members = await invertDiverse(model, { ...inversionRun(context), ...options, concept });
    evaluations.add(members[0]!.record!.unetEvaluations);
    return members.map((member) => ({
      name: member.token,
      prompt: template.replace("{}", () => member.token),
      tokens: [member],
      band: member.record!.band!,
    }));
  },
};
