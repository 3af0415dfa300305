import type { CLIPTokenizer } from "../../text/clip-tokenizer";
import { checkTemplates } from "../../text/templates";

export { checkTemplates };

/** A text to train on, and the concept that it names. */
export interface ConceptText {
  readonly text: string;
  readonly concept: number;
}

/** Every concept in every template. @throws INVALID_ARGUMENT when a template has no "{}" */
export function fillTemplates(concepts: readonly string[], templates: readonly string[]): ConceptText[] {
  checkTemplates(templates);
  return concepts.flatMap((name, concept) =>
    templates.map((template) => ({ text: template.replaceAll("{}", () => name), concept })),
  );
}

/** Tokens of the longest of some texts, start and end included, however many the text encoder reads. */
export function longest(tokenizer: CLIPTokenizer, texts: readonly string[]): number {
  return Math.max(...tokenizer.encode(texts, { padding: false, truncation: false }).map((row) => row.length));
}
