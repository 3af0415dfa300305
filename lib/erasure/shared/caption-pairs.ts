import { invalid } from "../../check";
import { KpopError } from "../../errors";
import { fillTemplates } from "./texts";

/** Kinds of concept, which differ in how a caption of its anchor becomes one of the concept. */
export const CONCEPT_KINDS = ["object", "style"] as const;
/** One of `CONCEPT_KINDS`. */
export type ConceptKind = (typeof CONCEPT_KINDS)[number];

/** A caption of pictures of an anchor, and what it is with the concept in it. */
export interface CaptionPair {
  readonly anchor: string;
  /** One of them is drawn each time; what is drawn more often stands there more often. */
  readonly targets: readonly string[];
}

/** A concept, and what it is to become. */
export interface AnchoredConcept {
  readonly concept: string;
  readonly anchor: string;
}

/**
 * Captions of a concept's anchor with those of the concept: an object's name takes the place of its anchor's (with a
 * plural "s" where that has one); a style is named behind the caption a third of the time, else before it.
 * @param texts `prompts`, whole captions, of which an object takes those that name its anchor; where there are none,
 *   `templates` with "{}" for the name
 * @throws INVALID_ARGUMENT when no prompt names an object's anchor
 */
export function captionPairs(
  { concept, anchor }: AnchoredConcept,
  kind: ConceptKind,
  texts: { templates: readonly string[]; prompts: readonly string[] },
): CaptionPair[] {
  const { templates, prompts } = texts;
  const captions = prompts.length > 0 ? [...prompts] : filled(anchor, templates);
  if (kind === "style")
    return captions.map((caption) => ({ anchor: caption, targets: inStyle(caption, concept) }));
  if (prompts.length === 0) {
    const named = filled(concept, templates);
    return captions.map((caption, index) => ({ anchor: caption, targets: [named[index]!] }));
  }
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}])${escaped(anchor)}(?=s?(?![\\p{L}\\p{N}]))`, "giu");
  const pairs = captions
    .map((caption) => ({ anchor: caption, targets: [caption.replace(pattern, () => concept)] }))
    .filter((pair) => pair.targets[0] !== pair.anchor);
  if (pairs.length > 0) return pairs;
  throw new KpopError(
    "INVALID_ARGUMENT",
    `Expected anchorPrompts to name ${JSON.stringify(anchor)}, the anchor of ${JSON.stringify(concept)}, which takes its place there, but none of ${prompts.length} does`,
  );
}

/** A list of captions, none of them blank; it may be empty. @throws INVALID_ARGUMENT */
export function checkPrompts(name: string, prompts: unknown): void {
  if (!Array.isArray(prompts)) throw invalid(name, "a list of strings", prompts);
  for (const prompt of prompts as unknown[])
    if (typeof prompt !== "string" || prompt.trim() === "")
      throw invalid(name, "a list of non-empty strings", prompt);
}

function filled(name: string, templates: readonly string[]): string[] {
  return fillTemplates([name], templates).map(({ text }) => text);
}

function inStyle(caption: string, style: string): string[] {
  const before = `in ${style}'s style, ${caption}`;
  return [`${caption}, in the style of ${style}`, before, before];
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/gu, "\\$&");
}
