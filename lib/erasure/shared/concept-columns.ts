import { splicePrompt, type LearnedToken } from "../../diffusion/learned-tokens";
import { KpopError } from "../../errors";
import type { CLIPTokenizer } from "../../text/clip-tokenizer";
import { subjectPrompt } from "./subject-prompt";

/**
 * Columns of attention that belong to a concept in a caption: the places of its name's tokens, or of the vectors learned
 * in its place, wherever the caption has them.
 * @param subject the concept's name, or what was learned for it
 * @param options.end whether the end token's column counts as well: the first of them, since Stable Diffusion 1.x pads
 *   with more
 * @throws INVALID_ARGUMENT when the template has no "{}" or glues letters to it, and when the subject lies beyond the
 *   tokens that the text encoder reads
 */
export function conceptColumns(
  tokenizer: CLIPTokenizer,
  template: string,
  subject: string | LearnedToken,
  options: { end: boolean },
): number[] {
  const { ids, columns } =
    typeof subject === "string"
      ? namedColumns(tokenizer, template, subject)
      : learnedColumns(tokenizer, template, subject);
  return options.end ? [...columns, ids.indexOf(tokenizer.eosTokenId)] : columns;
}

interface Columns {
  readonly ids: readonly number[];
  readonly columns: number[];
}

function namedColumns(tokenizer: CLIPTokenizer, template: string, name: string): Columns {
  const { text, position } = subjectPrompt(tokenizer, template, name);
  const ids = tokenizer.encode(text)[0]!;
  const own = tokenizer.encode(name, { padding: false, truncation: false })[0]!.slice(1, -1);
  const last = position - own.length + 1;
  const isOwn = (first: number): boolean => own.every((id, index) => ids[first + index] === id);
  if (own.length === 0 || last < 1 || !isOwn(last))
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected ${JSON.stringify(name)} to be words of its own in ${JSON.stringify(text)}, of the template ${JSON.stringify(template)}: put a space before "{}"`,
    );
  const columns = new Set<number>();
  for (let first = 1; first <= last; first++)
    if (isOwn(first)) own.forEach((_, index) => columns.add(first + index));
  return { ids, columns: [...columns] };
}

function learnedColumns(tokenizer: CLIPTokenizer, template: string, learned: LearnedToken): Columns {
  const text = template.replaceAll("{}", () => learned.token);
  const { ids, places } = splicePrompt(tokenizer, text, [learned]);
  return { ids, columns: places.map(({ position }) => position) };
}
