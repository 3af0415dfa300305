import { invalid } from "../check";

/** A non-empty list of texts with a place for the concept. @throws INVALID_ARGUMENT */
export function checkTemplates(templates: unknown, name = "templates"): void {
  if (!Array.isArray(templates) || templates.length === 0)
    throw invalid(name, "a non-empty list of strings", templates);
  for (const template of templates as unknown[]) {
    if (typeof template !== "string" || !template.includes("{}"))
      throw invalid("a template", 'a text with "{}" in it', template);
  }
}
