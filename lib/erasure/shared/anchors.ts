import { invalid } from "../../check";
import { choice, perConcept, text, texts } from "../../options/kinds";
import { alias } from "../../options/option";
import {
  captionPairs,
  CONCEPT_KINDS,
  type AnchoredConcept,
  type CaptionPair,
  type ConceptKind,
} from "./caption-pairs";

const ANCHORS: Readonly<Record<ConceptKind, string>> = { object: "a photo", style: "painting" };

const ANCHOR = perConcept(
  text(
    undefined,
    `what the concept becomes; one, or one for each concept (default: "${ANCHORS.object}", for a style "${ANCHORS.style}")`,
  ),
);

/** Options that say what concepts become, and with which captions. */
export function anchors() {
  return {
    /**
     * What the concepts become, c*: one text for all of them, or one for each; "cat" for "grumpy cat". Default
     * "a photo" for objects, "painting" for styles.
     */
    anchor: ANCHOR,
    /** The same as `anchor`. */
    target: alias("anchor", ANCHOR),
    /** How captions of the anchor become captions of the concept: its name in the anchor's place, or its style. Default "object". */
    kind: choice(
      "object",
      CONCEPT_KINDS,
      "object, or style: how a caption of the anchor becomes one of the concept",
    ),
    /** Whole captions in place of `templates`; an object takes those that name its anchor. The paper has 200. */
    anchorPrompts: texts([], "whole captions of the anchor's pictures, in place of templates"),
  };
}

/** What decides the captions that concepts are trained in. */
export interface AnchorOptions {
  readonly anchor: readonly string[] | undefined;
  readonly kind: ConceptKind;
  readonly templates: readonly string[];
  readonly anchorPrompts: readonly string[];
  readonly images: number;
}

/** Each concept with its anchor. @throws INVALID_ARGUMENT where they are the same */
export function anchored(o: AnchorOptions, concepts: readonly string[]): AnchoredConcept[] {
  return concepts.map((concept, index) => {
    const anchor = o.anchor?.[index] ?? ANCHORS[o.kind];
    if (concept === anchor)
      throw invalid("anchor", `another text than the concept ${JSON.stringify(concept)}`, anchor);
    return { concept, anchor };
  });
}

/** Captions of each concept. @throws INVALID_ARGUMENT where one is of no concept, or has no picture */
export function captionsOf(o: AnchorOptions, concepts: readonly string[]): CaptionPair[][] {
  const { kind, templates, anchorPrompts: prompts, images } = o;
  const named = anchored(o, concepts);
  const pairs = named.map((pair) => captionPairs(pair, kind, { templates, prompts }));
  const most = Math.max(...pairs.map((own) => own.length));
  if (images < most) throw invalid("images", `at least ${most}, one for each caption`, images);
  const used = new Set(pairs.flat().map(({ anchor }) => anchor));
  const unused = prompts.find((prompt) => !used.has(prompt));
  if (unused === undefined) return pairs;
  const names = named.map(({ anchor }) => JSON.stringify(anchor)).join(", ");
  throw invalid("each of anchorPrompts", `a text that names an anchor (${names})`, unused);
}
