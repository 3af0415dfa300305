import { invalid } from "../check";

/** A prompt for a name: the name in the place of {}. @throws INVALID_ARGUMENT when the template has no {}, or several */
export function fillTemplate(template: unknown, name: string): string {
  if (typeof template !== "string" || template.split("{}").length !== 2)
    throw invalid("prompt", "a text with one {} for the name", template);
  return template.split("{}").join(name);
}
