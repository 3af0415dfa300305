import type { EvaluatedPicture } from "../evaluation/evaluation";
import type { Measured } from "./measured";

/** What is to become of what a picture shows, as the page says it. */
export const GROUPS = {
  erased: "to go",
  preserved: "to stay",
  cross: "of another domain",
  none: "of no class",
} as const;

export type GroupName = keyof typeof GROUPS;

/** The group of a class: what one evaluation calls erased is erased, whatever the others looked for. */
export function groupOfClass(all: readonly Measured[], name: string): "erased" | "preserved" {
  const classes = all.flatMap(({ source }) => source.evaluation.classes);
  return classes.some((one) => one.name === name && one.group === "erased") ? "erased" : "preserved";
}

/** What a picture counts for first, and what it is called: its class, or that of another domain. */
export function subjectOf({ class: own, crossClass }: EvaluatedPicture): string | null {
  return own ?? crossClass?.name ?? null;
}
