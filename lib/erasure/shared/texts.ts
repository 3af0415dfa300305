import { invalid } from "../../check";

/** A text to train on, and the concept that it names. */
export interface ConceptText {
  readonly text: string;
  readonly concept: number;
}

/** Every concept in every template. @throws INVALID_ARGUMENT when a template has no "{}" */
export function fillTemplates(concepts: readonly string[], templates: readonly string[]): ConceptText[] {
  for (const template of templates) {
    if (typeof template !== "string" || !template.includes("{}"))
      throw invalid("a template", 'a text with "{}" in it', template);
  }
  return concepts.flatMap((name, concept) =>
    templates.map((template) => ({ text: template.replaceAll("{}", () => name), concept })),
  );
}
