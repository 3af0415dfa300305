import { invalid } from "../../check";
import { KpopError } from "../../errors";
import type { CLIPTokenizer } from "../../text/clip-tokenizer";

/** A prompt, and where in its encoding the subject's last token is. */
export interface SubjectPrompt {
  readonly text: string;
  /**
   * Row of the last token that the subject ends with, from 0, the start token, to L - 2. An empty subject ends where the
   * words before it do: at the start token when there are none.
   */
  readonly position: number;
}

/**
 * A template with a subject in every "{}"; the last of them counts for the position.
 * @throws INVALID_ARGUMENT when the template has no "{}" or glues letters to its end, and when the subject lies beyond
 *   the L tokens that the text encoder reads
 */
export function subjectPrompt(tokenizer: CLIPTokenizer, template: string, subject: string): SubjectPrompt {
  if (typeof template !== "string" || !template.includes("{}"))
    throw invalid("a template", 'a text with "{}" in it', template);
  const end = template.lastIndexOf("{}") + 2;
  const head = template.slice(0, end).replaceAll("{}", () => subject);
  const text = head + template.slice(end);
  const ids = (part: string): number[] => tokenizer.encode(part, { padding: false, truncation: false })[0]!;
  const upToSubject = ids(head).slice(0, -1);
  const whole = ids(text);
  if (upToSubject.some((id, index) => whole[index] !== id)) {
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected a word to end where "{}" does but in ${JSON.stringify(text)}, of the template ${JSON.stringify(template)}, it goes on: put a space behind "{}"`,
    );
  }
  const position = upToSubject.length - 1;
  checkWithin(tokenizer, text, position);
  return { text, position };
}

/**
 * Refuses subjects that a template holds beyond the L tokens that the text encoder reads, as it would train on other texts.
 * @throws INVALID_ARGUMENT
 */
export function checkSubjects(
  tokenizer: CLIPTokenizer,
  subjects: readonly string[],
  templates: readonly string[],
): void {
  for (const template of templates) {
    const heads = subjects.map((subject) =>
      template.slice(0, template.lastIndexOf("{}") + 2).replaceAll("{}", () => subject),
    );
    const rows = tokenizer.encode(heads, { padding: false, truncation: false });
    for (const [i, row] of rows.entries()) checkWithin(tokenizer, heads[i]!, row.length - 2);
  }
}

/** @param position of the subject's last token */
function checkWithin({ maxLength }: CLIPTokenizer, text: string, position: number): void {
  if (position <= maxLength - 2) return;
  throw new KpopError(
    "INVALID_ARGUMENT",
    `Expected a prompt's subject within the ${maxLength} tokens that the text encoder reads but ${JSON.stringify(text.slice(0, 60))} has it end at token ${position + 1}: shorten it`,
  );
}
