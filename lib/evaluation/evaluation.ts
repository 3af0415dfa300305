import type { Judge } from "./judge";
import type { MetricNotes, MetricResults } from "./metrics";
import type { Mean, Rate } from "./rates";
import type { Accuracy, ClassEvaluation, CrossClassEvaluation } from "./summarize";

/** Where a class stands in a classifier's ranking of a picture. */
export interface RankedClass {
  /** As it was asked for. */
  name: string;
  /** Its place in the ranking, 1 for the first. */
  rank: number;
  /** Index of the class that the classifier puts first. */
  best: number;
}

/** What one picture was taken for. */
export interface EvaluatedPicture {
  /** Name of the class that it was asked to show; without one it has no rank. */
  class?: string;
  /** Place of the own class in the classifier's ranking, 1 for the first. */
  rank?: number;
  /** Index of the class that the classifier puts first. */
  best?: number;
  /** The class of another domain that it was asked to show; only with one. */
  crossClass?: RankedClass;
  /** What its prompt file calls it; only where it does. */
  case?: string;
  prompt: string;
  seed: number;
  path: string;
  /** 100 · max(cos, 0) of the picture and its prompt; only with a CLIP. */
  clipScore?: number;
  /** What metrics note of it, by their names; only with those that do. */
  metrics?: MetricNotes;
}

/** What `evaluate` measured. */
export interface Evaluation {
  classes: ClassEvaluation[];
  /** Erasing success by k: the share of pictures of erased classes that the classifier does not put among the first k;
   *  mean over the classes. Empty without erased classes. */
  esr: Record<number, Rate>;
  /** Preserving success by k: the share of pictures of preserved classes that it does. */
  psr: Record<number, Rate>;
  /** Classes of another domain; only with some. */
  crossClasses?: CrossClassEvaluation[];
  /** UA, IRA and CRA; only with classes. */
  accuracy?: Accuracy;
  /** Mean CLIP scores over the pictures of each group, or of all where they have no classes; only with a CLIP. */
  clipScore?: { erased?: Mean; preserved?: Mean; all?: Mean };
  /** What named the pictures; only with classes. */
  classifier?: Judge;
  /** What named their classes of another domain; only with some. */
  crossClassifier?: Judge;
  /** What gave the CLIP scores; only with a CLIP. */
  clip?: Judge;
  /** What each metric says of all pictures, by its name; only with metrics. */
  metrics?: MetricResults;
  pictures: EvaluatedPicture[];
  /** Number of pictures, and of those that were made by this call. */
  images: number;
  generated: number;
  /** Folder of the pictures; where they are drawn with settings of their own, the folder of those folders. */
  directory: string;
  seconds: number;
  /** The command that it is the work of, where that was given. */
  command?: string;
}
