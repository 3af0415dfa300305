import type { CLIPTokenizer } from "../../text/clip-tokenizer";
import { subjectPrompt } from "./subject-prompt";
import type { TextRows } from "./text-rows";

/** Which token rows of a text go onto which of another's: the last token's, those from it on, or all. */
export type RowAlignment = "last-token" | "tail" | "all";

/** Rows of a concept's text, and as many rows of its guide's, that they go to. */
export interface RowPair {
  readonly source: TextRows;
  readonly guide: TextRows;
}

/**
 * Each concept in each template beside its guide in the same template, aligned row by row (UCE, arXiv 2308.14761, and
 * its scripts):
 * - "last-token": the row of the concept's last token, with that of the guide's;
 * - "tail": also the rows behind, end and padding tokens included, as many as both texts have of L;
 * - "all": row i with row i.
 * @param guides what each concept is to mean
 * @throws INVALID_ARGUMENT as `subjectPrompt` does
 */
export function pairRows(
  tokenizer: CLIPTokenizer,
  concepts: readonly string[],
  guides: readonly string[],
  templates: readonly string[],
  alignment: RowAlignment,
): RowPair[] {
  const length = tokenizer.maxLength;
  return concepts.flatMap((concept, index) =>
    templates.map((template): RowPair => {
      const [source, target] = [concept, guides[index]!].map((text) =>
        subjectPrompt(tokenizer, template, text),
      );
      const count =
        alignment === "last-token"
          ? 1
          : alignment === "tail"
            ? length - Math.max(source!.position, target!.position)
            : length;
      const rows = ({ text, position }: { text: string; position: number }): TextRows => ({
        text,
        from: alignment === "all" ? 0 : position,
        count,
      });
      return { source: rows(source!), guide: rows(target!) };
    }),
  );
}

/** The rows that move, and those that they move to: two lists for `encodeRowLists`. */
export function sourcesAndGuides(pairs: readonly RowPair[]): [sources: TextRows[], guides: TextRows[]] {
  return [pairs.map(({ source }) => source), pairs.map(({ guide }) => guide)];
}

/** The rows that stand for a prompt as a whole: for "last-token" its last token's, else all. @throws INVALID_ARGUMENT */
export function promptRows(tokenizer: CLIPTokenizer, prompt: string, alignment: RowAlignment): TextRows {
  if (alignment !== "last-token") return { text: prompt, from: 0, count: tokenizer.maxLength };
  const { text, position } = subjectPrompt(tokenizer, "{}", prompt);
  return { text, from: position, count: 1 };
}

/**
 * TIME's alignment (arXiv 2303.08084): the other text's row for each of the L rows of a text, "an" counting as "a"; null
 * where its tokens are not all there, in their order. The start and end tokens are walked along as well, and the padding
 * behind them goes one to one, as in the authors' code.
 */
export function walk(tokenizer: CLIPTokenizer, source: string, target: string): number[] | null {
  const idsOf = (name: string): number[] =>
    tokenizer.encode(name.replace(/\ban\b/giu, "a"), { padding: false, truncation: true })[0]!;
  const others = idsOf(target);
  const last = tokenizer.maxLength - 1;
  const places: number[] = [];
  let next = 0;
  for (const id of idsOf(source)) {
    const found = others.indexOf(id, next);
    if (found < 0) return null;
    places.push(found);
    next = found + 1;
  }
  while (places.length <= last) places.push(Math.min(next++, last));
  return places;
}
