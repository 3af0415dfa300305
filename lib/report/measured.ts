import { basename, resolve } from "node:path";
import type { Evaluation } from "../evaluation/evaluation";
import { attackTitle } from "./attacks";
import type { EvaluationSource } from "./evaluations";
import { measureCell } from "./measures";
import type { ReportedModel } from "./models";
import type { Cell, Tile } from "./page/blocks";
import { NONE, percent } from "./page/format";
import type { Look } from "./page/palette";

/** One evaluation, by what the page calls its model, with a key or without. */
export interface Measured {
  title: string;
  /** The title, with the evaluation's folder where several are of the same model. */
  label: string;
  look: Look;
  withKey: boolean;
  /** Whether the model is known to be one that was erased from, or one that was not; null where nothing says. */
  erased: boolean | null;
  source: EvaluationSource;
}

/** All evaluations, model by model, those without a key first. */
export function measuredOf(models: readonly ReportedModel[]): Measured[] {
  const all = models.flatMap(({ title, look, erasure, plain, keyed }) =>
    [...plain, ...keyed].map((source) => ({
      title: source.withKey ? `${title} + key` : title,
      ...{ look, withKey: source.withKey, source },
      erased: erasedOf(erasure !== null, look === "original", source),
    })),
  );
  return all.map((one) => {
    const alone = all.filter(({ title }) => title === one.title).length === 1;
    return { ...one, label: alone ? one.title : `${one.title}, ${basename(resolve(one.source.folder))}` };
  });
}

/** A model that nothing is known of is taken for an erased one, but the first of several: that may be the original. */
function erasedOf(made: boolean, original: boolean, { name, against }: EvaluationSource): boolean | null {
  if (made) return true;
  if (original) return false;
  return name !== null && against === null ? null : true;
}

/** Where a figure is known, at what it is and between what it lies; JSON has null for what is not finite. */
export interface Known {
  value: number;
  low: number | null;
  high: number | null;
}

/** A figure with its interval. @param scale 100 for a share, which is then in percent */
export function rateCell(rate: Known | undefined, scale = 100): Cell {
  return rate === undefined ? { text: NONE } : measureCell(rate, (value) => percent(scale * value));
}

/** How often something was seen that a rate counts where it was not. */
export function turned({ value, low, high }: { value: number; low: number; high: number }): Known {
  return { value: 1 - value, low: 1 - high, high: 1 - low };
}

function inWords(rate: Known): string {
  const { text: value, note } = rateCell(rate);
  return note === undefined ? `${value} %` : `${value} % (${note})`;
}

/** The evaluation with most pictures of classes, the last of those. */
function largest(sources: readonly EvaluationSource[]): Evaluation | undefined {
  const pictures = ({ evaluation: { esr, psr } }: EvaluationSource) =>
    (esr[1]?.total ?? 0) + (psr[1]?.total ?? 0);
  const most = Math.max(...sources.map(pictures));
  return sources.findLast((source) => pictures(source) === most)?.evaluation;
}

/** What stands first: the figures of one erasure, large. */
export function summaryTiles(models: readonly ReportedModel[]): Tile[] {
  const [erased, ...others] = models.filter(({ erasure }) => erasure !== null);
  if (erased === undefined || others.length > 0) return [];
  const { look, attacks } = erased;
  const first = (of: ReportedModel | undefined, key: "plain" | "keyed") => largest(of?.[key] ?? []);
  const [own, keyed] = [first(erased, "plain"), first(erased, "keyed")];
  const before = first(
    models.find((one) => one.look === "original"),
    "plain",
  );
  const than = (rate: Known | undefined): string => (rate === undefined ? "" : `; before ${inWords(rate)}`);
  const tile = (label: string, rate: Known | undefined, what: string, more = ""): Tile[] => {
    if (rate === undefined) return [];
    const { text: value, note } = rateCell(rate);
    return [{ label, value: `${value} %`, note: `${note ?? ""}; ${what}${more}`.replace(/^; /, ""), look }];
  };
  const back = keyed?.esr[1];
  const [worst] = attacks.map(({ attack }) => attack).sort((a, b) => b.after.value - a.after.value);
  return [
    ...tile("Gone", own?.esr[1], "pictures of what was erased that are not seen as it", than(before?.esr[1])),
    ...tile("Kept", own?.psr[1], "pictures of other classes that are seen as them", than(before?.psr[1])),
    ...tile("Back with the key", back && turned(back), "pictures of what was erased that are seen as it"),
    ...tile("Back under attack", worst?.after, worst === undefined ? "" : `${attackTitle(worst.method)}; by its plain name ${inWords(worst.before)}`), // prettier-ignore
  ];
}
