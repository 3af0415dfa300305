import { inversion } from "../../inversion/inversion-options";
import { diversity, invertDiverse } from "../../inversion/invert-diverse";
import { defineAttack, type AttackOptionsOf } from "../method";

/**
 * Diverse Inversion (arXiv 2404.03631): embeddings held between cosines with the concept's own. An erasure is safe from
 * any input only if those of all bands fail; one that looks at the name alone fails far from it.
 */
export const diverseInversion = defineAttack({
  name: "diverse-inversion",
  title: "Diverse Inversion",
  reference: "arXiv 2404.03631",
  short: "learns embeddings at chosen cosines with the concept's own, band by band",
  finds: "embeddings, one or more in each band of cosines",
  needsPictures: true,
  cost: "1 UNet evaluation a noisy picture, update and embedding, 40,000 with its defaults",
  options: { ...inversion(), ...diversity() },
  async run(job, o) {
    const { concept, model, template } = job;
    const templates = [...o.templates];
    const members = await invertDiverse(model, { ...job.asInversion(), ...o, templates, concept });
    return members.map((member) => ({
      name: member.token,
      prompt: template.replace("{}", () => member.token),
      tokens: [member],
      band: member.record!.band!,
    }));
  },
});

/** Options of Diverse Inversion as an attack. @interface */
export type DiverseInversionOptions = AttackOptionsOf<typeof diverseInversion>;
