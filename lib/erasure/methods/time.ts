import { invalid } from "../../check";
import type { CLIPTokenizer } from "../../text/clip-tokenizer";
import { choice, flag, number, perConcept, text } from "../../options/kinds";
import { defineMethod, type OptionsOf } from "../method";
import { editProjections, keysAndValues } from "../shared/edit-projections";
import { pairRows, promptRows, sourcesAndGuides, walk, type RowPair } from "../shared/paired-rows";
import { checkSubjects } from "../shared/subject-prompt";
import { encodeRowLists } from "../shared/text-rows";

/** What the published script puts before both texts, to edit more phrasings. */
const PREFIXES = ["A photo of", "An image of", "A picture of"];

/**
 * TIME: editing implicit assumptions (Orgad, Kawar and Belinkov 2023, arXiv 2303.08084).
 *
 * Every key and value projection W of cross-attention is replaced by the minimiser of
 *   Σ_i ‖W' k_i - W k*_i‖² + λ ‖W' - W‖²_F
 * where k_i are the token states of the concept, all L of them, and k*_i those of what it becomes. "walk" aligns them as
 * the paper does: each token of the concept's text, the end token included, goes with the next equal one of the other text
 * ("an" counts as "a"), the padding behind one to one. That needs the concept's tokens in the other text, in their order
 * ("a pack of roses", "a pack of blue roses"); to take a concept away, "tail" aligns from the last token on, as UCE does.
 *
 * The paper holds no prompts in place; here those of `preserve` and the neighbours are, all their rows, with weight
 * `preserveScale`.
 */
export const time = defineMethod({
  name: "time",
  title: "TIME",
  short: "sends all of the concept's keys and values where another text's go",
  reference: "arXiv 2303.08084",
  kind: "closed form",
  cost: "seconds, no training",
  entrant: false,
  options: {
    /** What the concepts become: one text for all, or one for each. Default "", which takes them away. */
    target: perConcept(
      text("", "text that the concepts are turned into: one for all, or one for each", { blank: true }),
    ),
    /** How rows are aligned; "auto" walks where it can, and else takes the tail. Default "auto". */
    alignment: choice(
      "auto",
      ["auto", "walk", "tail"],
      'alignment of token rows: "walk" by equal tokens, "tail" from the last on, or "auto"',
    ),
    /** Whether the pair is edited with three prefixes too ("A photo of …"). Default true. */
    augment: flag(true, "edit the bare texts alone"),
    /** Weight λ > 0 of staying with the old weights. Default 0.1. */
    lambda: number(0.1, "weight of staying with the old weights", { above: 0 }),
    /** Weight of the rows that are held, >= 0. Default 1. */
    preserveScale: number(1, "weight of the preserved prompts' token rows", { from: 0 }),
    /** Which keys and values of cross-attention are edited. Default "xattn-kv"; the paper's first version has values alone, /attn2\.to_v/. */
    parameters: keysAndValues(),
  },
  fit: (o, { tokenizer }, { concepts }) => void pairsOf(tokenizer, concepts, o),
  async run(job, o) {
    const { tokenizer } = job.base;
    const pairs = pairsOf(tokenizer, job.concepts, o);
    const held = job.held.map((prompt) => promptRows(tokenizer, prompt, "all"));
    const [rows, targets, kept] = await encodeRowLists(job, [...sourcesAndGuides(pairs), held]);
    await editProjections(job, {
      moved: { rows, targets, weights: 1 },
      ...(held.length === 0 ? {} : { held: { rows: kept, weights: o.preserveScale } }),
      lambda: o.lambda,
    });
  },
});

/** Options of TIME, before defaults. @interface */
export type TimeOptions = OptionsOf<typeof time>;

type Pairing = Pick<TimeOptions, "alignment" | "augment"> & { readonly target: readonly string[] };

/** @throws INVALID_ARGUMENT where a text is too long, or "walk" is asked for and the target has not the concept's tokens in their order */
function pairsOf(tokenizer: CLIPTokenizer, concepts: readonly string[], o: Pairing): RowPair[] {
  return concepts.flatMap((concept, index) => {
    const target = o.target[index]!;
    const templates = o.augment === false ? ["{}"] : ["{}", ...PREFIXES.map((prefix) => `${prefix} {}`)];
    checkSubjects(tokenizer, [concept, target], templates);
    const places = o.alignment === "tail" ? null : walk(tokenizer, concept, target);
    if (places === null && o.alignment === "walk")
      throw invalid("target", `a text with the tokens of ${JSON.stringify(concept)} in their order, as "walk" needs,`, target); // prettier-ignore
    if (places === null) return pairRows(tokenizer, [concept], [target], templates, "tail");
    return templates.flatMap((template) => {
      const [source, other] = [concept, target].map((name) => filled(template, name)) as [string, string];
      const along = walk(tokenizer, source, other)!;
      return along.map((to, from) => ({
        source: { text: source, from, count: 1 },
        guide: { text: other, from: to, count: 1 },
      }));
    });
  });
}

/** A text in a template; a leading article loses its capital behind a prefix. */
function filled(template: string, name: string): string {
  if (template === "{}") return name;
  return template.replace("{}", () => name.replace(/^An?\b/u, (article) => article.toLowerCase()));
}
