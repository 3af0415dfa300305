import type { ImageSetProgress } from "../diffusion/image-set";
import { KpopError } from "../errors";
import type { Image } from "../io/image";
import { group, open, type Complete, type Given, type Option, type OptionSet } from "../options/option";
import type { Hashed } from "./judge";

/** What a metric is opened for. */
export interface MetricJob {
  /** Where its network goes: "cpu", "cuda:0", ... */
  readonly device: string;
  /** How many models are compared; 1 where one is evaluated alone. */
  readonly models: number;
  /** Whether it is opened to be refused or not, before a shard draws: nothing is then measured, no picture of a reference
   *  looked at, and nothing written. Default false. */
  readonly trial?: boolean;
  readonly signal: AbortSignal | undefined;
  /** Told, while it opens, how many pictures of a reference it has looked at. */
  onReference?(progress: Pick<ImageSetProgress, "done" | "total" | "etaSeconds">): Promise<void>;
}

/** What becomes of the class that a picture is asked to show. */
export type PictureGroup = "erased" | "preserved";

/** Pictures that are measured together. */
export interface MetricBatch {
  readonly images: readonly Image[];
  /** What each was asked for with. */
  readonly prompts: readonly string[];
  /** The group of each one's class; null without a class. */
  readonly groups: readonly (PictureGroup | null)[];
  /** The first model's pictures for the same prompts and seeds, in that order; null where the pictures are its own. */
  readonly firsts: readonly Image[] | null;
}

/** The pictures of one model under a metric. R is what is said of all of them, P of each. */
export interface Measurement<R, P> {
  /** Takes in a batch. @returns what is noted of each picture; null where nothing is */
  add(batch: MetricBatch, signal: AbortSignal | undefined): Promise<readonly P[] | null>;
  /** What follows from all that was taken in; null where nothing can be said of this model. */
  result(): R | null | Promise<R | null>;
  /** Frees what was kept of the pictures. Idempotent. */
  dispose(): void;
}

/** A metric whose network is loaded. Its origin and hash go into the result. */
export interface OpenMetric<R, P> extends Hashed {
  /** Begins with a model's pictures. @param first the first model's, complete; null where this is the first */
  measure(first: Measurement<R, P> | null): Measurement<R, P>;
  dispose(): void;
}

/** A metric as it is written: one file in metrics/, one line in the registry. */
export interface MetricDefinition<N extends string, S extends OptionSet, R, P> {
  /** Its group among the options of `evaluate`, the start of its flags, and its key in the result. */
  readonly name: N;
  /** What tables call it. */
  readonly title: string;
  /** The paper. */
  readonly reference: string;
  /** What it measures, in one line. */
  readonly short: string;
  /** Its own options. It is measured where they are given. */
  readonly options: S;
  /** Refuses values that do not go together; needs no model. @throws INVALID_ARGUMENT */
  check?(o: Complete<S>): void;
  /** Loads what it judges with; nothing is drawn yet, so it refuses here what it cannot measure. */
  open(o: Complete<S>, job: MetricJob): Promise<OpenMetric<R, P>>;
  /** The result in figures, for tables. */
  figures(result: R): readonly Figure[];
  /** What of a picture is compared with another model's for the same prompt and seed: yes or no as a rate, numbers as means. */
  values?(note: P, result: R): Readonly<Record<string, number | boolean>>;
  /** What it notes of a picture, in few words for pages, and whether what was to go is seen, where it looks for that. */
  words?(note: P, result: R): { readonly text: string; readonly seen?: boolean };
}

/** One figure of a result, for people. */
export interface Figure {
  readonly name: string;
  /** A number, or one with its interval. */
  readonly value: number | { readonly value: number; readonly low: number; readonly high: number };
  /** A share, shown in percent. */
  readonly percent?: boolean;
  /** Digits after the point. Default 1. */
  readonly digits?: number;
}

/** A metric, as `evaluate` and the command line take it. */
export type Metric<
  N extends string = string,
  S extends OptionSet = OptionSet,
  R = unknown,
  P = unknown,
> = Readonly<MetricDefinition<N, S, R, P>>;

const FIELDS = ["name", "title", "reference", "short", "options", "open", "figures"] as const;

/** A metric, checked for what each has to have. @throws INVALID_ARGUMENT naming the field that is missing */
export function defineMetric<const N extends string, const S extends OptionSet, R, P>(
  definition: MetricDefinition<N, S, R, P>,
): Metric<N, S, R, P> {
  for (const field of FIELDS)
    if (definition[field] === undefined)
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected the definition of the metric ${JSON.stringify(definition.name)} to have ${field}`,
      );
  return Object.freeze({ ...definition, options: Object.freeze({ ...definition.options }) });
}

/** A metric's options as a group among those of `evaluate`; undefined where it is not asked for. */
export function metricGroup<S extends OptionSet>({
  short,
  options,
  check,
}: Pick<Metric<string, S>, "short" | "options"> & { check?(o: Complete<S>): void }): Option<
  Complete<S> | undefined,
  Given<S>
> {
  const own = open(group(options, short));
  return {
    ...own,
    check(name, value, about) {
      const checked = own.check(name, value, about);
      check?.(checked);
      return checked;
    },
  };
}
