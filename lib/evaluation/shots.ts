import { KpopError } from "../errors";
import type { ImageSetItem } from "../diffusion/image-set";
import { readPrompts, type PromptRow } from "../diffusion/prompt-file";
import { invalid } from "../check";
import type { ParsedOptions } from "./evaluate-options";
import { fillTemplate } from "./template";

/** One class of an evaluation. */
export interface EvaluatedClass {
  readonly name: string;
  readonly group: "erased" | "preserved";
  /** What asks for it; undefined where its pictures are asked for in several ways. */
  readonly prompt?: string;
}

/** A picture that is asked for, and what it is to show. */
export interface Shot extends ImageSetItem {
  /** Place of its class among the classes; null where it is of none. */
  readonly class: number | null;
  /** Its class of another domain; null where it is of none. */
  readonly crossClass: string | null;
  /** What its prompt file calls it. */
  readonly case: string | undefined;
  /** What is its own among the settings that it is drawn with. */
  readonly drawing: Readonly<Pick<PromptRow, "guidanceScale" | "width" | "height">>;
}

/** All pictures of an evaluation, and the classes that they are of. */
export interface Plan {
  readonly shots: readonly Shot[];
  readonly classes: readonly EvaluatedClass[];
}

/** The pictures that an evaluation asks for. @throws INVALID_ARGUMENT; NOT_FOUND, IO_ERROR of a prompt file */
export async function planShots(o: ParsedOptions): Promise<Plan> {
  const plan = o.prompts === undefined ? fromClasses(o) : await fromRows(o.prompts, o);
  const names = plan.classes.map(({ name }) => name.toLowerCase());
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw invalid("erased and preserved", "free of repetitions", twice);
  return plan;
}

/** Pictures of each class, asked for by the template. */
function fromClasses(o: ParsedOptions): Plan {
  const named = (group: "erased" | "preserved"): EvaluatedClass[] =>
    o[group].map((name) => ({ name, group, prompt: fillTemplate(o.prompt, name) }));
  const classes = [...named("erased"), ...named("preserved")];
  if (classes.length === 0) throw invalid("erased", "given, or preserved, or prompts,", undefined);
  const series = (prompt: string, what: Pick<Shot, "class" | "crossClass">): Shot[] =>
    Array.from({ length: o.imagesPerClass }, (_, i) => ({
      ...what,
      prompt,
      seed: o.seed + i,
      case: undefined,
      drawing: {},
    }));
  return {
    classes,
    shots: [
      ...classes.flatMap(({ prompt }, i) => series(prompt!, { class: i, crossClass: null })),
      ...o.crossDomain.flatMap((name) =>
        series(fillTemplate(o.prompt, name), { class: null, crossClass: name }),
      ),
    ],
  };
}

/** A picture for each row of a prompt file. */
async function fromRows(given: string | readonly PromptRow[], o: ParsedOptions): Promise<Plan> {
  const where = typeof given === "string" ? given : "prompts";
  const fill = (name: string): string => fillTemplate(o.prompt, name);
  const rows = typeof given === "string" ? await readPrompts(given, { column: o.promptColumn, fill }) : given;
  if (o.crossDomain.length > 0)
    throw invalid(
      "crossDomain",
      `left out: the column cross_class of ${where} names those classes,`,
      o.crossDomain,
    );
  const classes = classesOf(rows, where, o);
  const only = rows.some((row) => row.class !== undefined) ? undefined : classes[0]?.name;
  const places = new Map(classes.map(({ name }, i) => [name.toLowerCase(), i]));
  const shots = rows.map(({ prompt, seed, crossClass, ...row }, i): Shot => {
    const own = row.class ?? only;
    return {
      prompt,
      seed: seed ?? o.seed + i,
      class: own === undefined ? null : places.get(own.toLowerCase())!,
      crossClass: crossClass ?? null,
      case: row.case,
      drawing: settingsOf(row, o),
    };
  });
  return { shots, classes };
}

/** Classes of the rows: erased where they are named so, else preserved. Rows without any are of the one that is named. */
function classesOf(rows: readonly PromptRow[], where: string, o: ParsedOptions): EvaluatedClass[] {
  const named = [...o.erased, ...o.preserved];
  const prompts = new Map<string, { name: string; prompts: Set<string> }>();
  for (const { class: name, prompt } of rows) {
    if (name === undefined) continue;
    const key = name.toLowerCase();
    const one = prompts.get(key) ?? { name, prompts: new Set() };
    prompts.set(key, { ...one, prompts: one.prompts.add(prompt) });
  }
  if (prompts.size === 0) {
    if (named.length > 1)
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected ${where} to name the class of each prompt, or all to be of the one class that erased or preserved names, but it names none and ${named.length} are given`,
      );
    const group = o.erased.length > 0 ? "erased" : "preserved";
    return named.map((name) => ({ name, group }));
  }
  const stray = named.find((name) => !prompts.has(name.toLowerCase()));
  if (stray !== undefined)
    throw invalid("erased and preserved", `classes of ${where}, ${[...prompts.values()].slice(0, 20).map(({ name }) => name).join(", ")},`, stray); // prettier-ignore
  const erased = new Set(o.erased.map((name) => name.toLowerCase()));
  return [...prompts].map(([key, { name, prompts: own }]) => ({
    name,
    group: erased.has(key) ? "erased" : "preserved",
    ...(own.size === 1 ? { prompt: [...own][0]! } : {}),
  }));
}

/** What a row says of its drawing, where no option says it of all. */
function settingsOf(row: Shot["drawing"], { generation }: ParsedOptions): Shot["drawing"] {
  const names = ["guidanceScale", "width", "height"] as const;
  return Object.fromEntries(
    names
      .filter((name) => row[name] !== undefined && generation[name] === undefined)
      .map((name) => [name, row[name]]),
  );
}
