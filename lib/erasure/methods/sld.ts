import { KpopError } from "../../errors";
import { sldGuidance, SLD_PRESETS, sldPreset } from "../../diffusion/interventions/sld";
import { integer, number, template as templateText } from "../../options/kinds";
import type { Option } from "../../options/option";
import { defineMethod, type OptionsOf } from "../method";
import { longest } from "../shared/texts";

/** A number in place of the preset's. */
function ownNumber(help: string, range: { from?: number; to?: number }): Option<number | undefined, number> {
  return { ...number(0, help, range), default: undefined };
}

/**
 * SLD: safe latent diffusion (Schramowski et al. 2023, arXiv 2211.05105).
 *
 * No weight changes: at each step a third prediction, for the concepts as one text, steers guidance away from them
 * (`sldGuidance` has the equations). A prompt that is that very text is not steered. It costs three network evaluations a
 * step in place of two, and holds where this library draws: other tools take the saved folder for the original model.
 */
export const sld = defineMethod({
  name: "sld",
  title: "SLD",
  short: "steers guidance away from the concept at each step; changes no weights",
  reference: "arXiv 2211.05105",
  kind: "inference",
  cost: "nothing to erase; each picture takes 3 UNet evaluations a step in place of 2",
  entrant: false,
  options: {
    /** The paper's configuration, which the options below change. Default "medium". */
    preset: sldPreset(),
    /** What the concepts are put into, "{}" standing for their names with commas between. Default "{}". */
    template: templateText("{}", 'text for the concepts, such as "an image showing {}"'),
    /** Steps before it begins, δ. Default: the preset's. */
    warmup: integer(undefined, "steps before it begins; the preset's when not given", { from: 0 }),
    /** How strongly, s_S. Default: the preset's. */
    scale: ownNumber("how strongly; the preset's when not given", { from: 0 }),
    /** How far the prompt's prediction may lie from the concept's, λ. Default: the preset's. */
    threshold: ownNumber("how far from the concept it still works; the preset's when not given", {}),
    /** How much of the momentum is added, s_m. Default: the preset's. */
    momentumScale: ownNumber("how much momentum is added; the preset's when not given", { from: 0 }),
    /** How much of the momentum stays, β_m. Default: the preset's. */
    momentum: ownNumber("how much momentum stays; the preset's when not given", { from: 0, to: 1 }),
  },
  fit({ template }, { tokenizer }, { concepts }) {
    const tokens = longest(tokenizer, [asOne(template, concepts)]);
    if (tokens <= tokenizer.maxLength) return;
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected the concepts as one text to have at most ${tokenizer.maxLength} tokens, start and end included, but they have ${tokens}: erase some of them by a run of their own on the result`,
    );
  },
  async run(job, o) {
    const { preset, template, ...own } = o;
    const given = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined));
    const concept = asOne(template, job.concepts);
    job.intervene(sldGuidance({ ...SLD_PRESETS[preset]!, ...given, concept }));
  },
});

/** Options of SLD, before defaults. @interface */
export type SldOptions = OptionsOf<typeof sld>;

function asOne(template: string, concepts: readonly string[]): string {
  return template.replaceAll("{}", () => concepts.join(", "));
}
