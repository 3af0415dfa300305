import type { EvaluatedPicture } from "../evaluation/evaluation";
import type { ClassEvaluation } from "../evaluation/summarize";
import { excerpt } from "../files/excerpt";
import { GROUPS, groupOfClass } from "./groups";
import { rateCell, turned, type Measured } from "./measured";
import { table, type Cell, type Row, type Section } from "./page/blocks";
import { NONE } from "./page/format";

/** How often each class is seen by each model. */
export function classesSection(all: readonly Measured[]): Section | null {
  const evaluations = all.map(({ source }) => source.evaluation);
  const names = [...new Set(evaluations.flatMap(({ classes }) => classes.map(({ name }) => name)))];
  const cross = [...new Set(evaluations.flatMap((one) => (one.crossClasses ?? []).map(({ name }) => name)))];
  if (names.length + cross.length === 0) return null;
  const find = ({ source }: Measured, name: string): ClassEvaluation | undefined =>
    source.evaluation.classes.find((one) => one.name === name);
  const rows = names.map((name): Row => {
    const group = GROUPS[groupOfClass(all, name)];
    const cells = all.map((one) => seen(find(one, name)));
    return {
      keys: { group },
      cells: [
        { text: name },
        { text: group },
        { text: askedFor(all, (one) => one.class === name) },
        ...cells,
      ],
    };
  });
  const others = cross.map((name): Row => {
    const found = evaluations.map((one) => one.crossClasses?.find((own) => own.name === name));
    const cells = found.map((own) => rateCell(own?.accuracy));
    return {
      keys: { group: GROUPS.cross },
      cells: [
        ...[{ text: name }, { text: GROUPS.cross }],
        ...[{ text: askedFor(all, ({ crossClass }) => crossClass?.name === name) }, ...cells],
      ],
    };
  });
  return {
    id: "classes",
    title: "Class by class",
    blocks: [
      table({
        caption: "Pictures in which the class is the most likely, %, with 95 % intervals",
        columns: [
          { title: "Class" },
          { title: "Is", words: true },
          { title: "Asked for as", words: true },
          ...all.map(({ label }) => ({ title: label })),
        ],
        filters: [{ key: "group", title: "Show" }],
        rows: [...rows, ...others],
      }),
    ],
  };
}

function seen(one: ClassEvaluation | undefined): Cell {
  const rate = one?.rates[1];
  if (rate === undefined) return { text: NONE };
  return rateCell(one!.group === "preserved" ? rate : turned(rate));
}

/** The prompt of a class, or how many there are. */
function askedFor(all: readonly Measured[], isOfClass: (picture: EvaluatedPicture) => boolean): string {
  const prompts = new Set(
    all.flatMap(({ source }) => source.evaluation.pictures.filter(isOfClass).map(({ prompt }) => prompt)),
  );
  return prompts.size === 1 ? excerpt([...prompts][0]!) : `${prompts.size} prompts`;
}
