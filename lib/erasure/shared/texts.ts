import { invalid } from "../../check";

/** A text to train on, and the concept that it names. */
export interface ConceptText {
  readonly text: string;
  readonly concept: number;
}

/** A non-empty list of texts with a place for the concept. @throws INVALID_ARGUMENT */
export function checkTemplates(templates: unknown): void {
  if (!Array.isArray(templates) || templates.length === 0)
    throw invalid("templates", "a non-empty list of strings", templates);
  for (const template of templates as unknown[]) {
    if (typeof template !== "string" || !template.includes("{}"))
      throw invalid("a template", 'a text with "{}" in it', template);
  }
}

/** Every concept in every template. @throws INVALID_ARGUMENT when a template has no "{}" */
export function fillTemplates(concepts: readonly string[], templates: readonly string[]): ConceptText[] {
  checkTemplates(templates);
  return concepts.flatMap((name, concept) =>
    templates.map((template) => ({ text: template.replaceAll("{}", () => name), concept })),
  );
}
