import type { ComputeDtype, Device } from "../lib/index";
import type { Machine } from "./machine";
import type { Failure } from "./runner";

/** What the benchmark measures and keeps: the contents of results.json, from which alone the report is made. */

/** The experiments, in the order in which they are reported. */
export const EXPERIMENTS = [
  "objects",
  "key",
  "styles",
  "robustness",
  "ablations",
  "tracking",
  "digits",
  "tune",
] as const;
export type Experiment = (typeof EXPERIMENTS)[number];

/** The untouched model stands among the methods under this name. */
export const ORIGINAL = "original";

/** Everything that decides what one trial does; a finished trial is kept only while it is the same. */
export interface TrialSpec {
  /** Name of its file, without extension. */
  name: string;
  experiment: Experiment;
  /** One of ROWS, or ORIGINAL. */
  method: string;
  /** What tells it apart from the other trials of its experiment and method; shown to people. */
  label: string;
  /** The method's own options. */
  options: Readonly<Record<string, unknown>>;
  erased: string[];
  preserved: string[];
  /** Prompts that the method is told to preserve. */
  preserve: string[];
  /** "v1" to "v4", "tuning", or a style's name. */
  split: string;
  /** The options that an ablation varies, and their values here; of the unchanged setting, all of them. */
  axes?: { name: string; value: string | number }[];
  /** Pictures for each class. */
  imagesPerClass: number;
  /** Whether pictures for the report are kept. */
  pictures: boolean;
}

/** How often a class was seen in pictures made for it. */
export interface ClassCount {
  name: string;
  group: "erased" | "preserved";
  images: number;
  /** Pictures in which it is among the k most likely classes, by k. */
  hits: Record<string, number>;
}

/** What an erasure took. */
export interface Cost {
  /** Seconds of the erasure itself, loading and evaluation left out. */
  seconds: number;
  unetEvaluations: number;
  /** Largest resident size of the process until the erasure was done. */
  peakBytes: number;
  /** Share of the UNet's elements that the method may change, 0 to 1. */
  changedShare: number;
  threads: number;
  /** "cpu", "cuda:0", ... */
  device: string;
}

/** A picture for the report. */
export interface Picture {
  prompt: string;
  group: "erased" | "preserved";
  withKey: boolean;
  seed: number;
  /** PNG, base64. */
  png: string;
}

/** A curve along training. */
export interface Series {
  /** What it is about: "prompt" (cosines of p with texts) or "alignment" (of pictures with texts). */
  group: "prompt" | "alignment";
  name: string;
  /** [iteration, value]. */
  points: [number, number][];
}

/** A figure for the wanted and one for the rest, such as the CLIP score of erased and preserved prompts. */
export interface Pair {
  erased: number;
  preserved: number;
}

/** What an attack did to an erasure: pictures that show the concept, of all. */
export interface AttackFigures {
  attack: string;
  /** What tells it from the same attack with other options, or after another number of steps. */
  label?: string;
  /** It is none of those of which the strongest counts. */
  apart?: boolean;
  /** Of the concept's plain name. */
  before: { hits: number; total: number };
  /** Of all inputs found. */
  after: { hits: number; total: number };
  inputs: { name: string; band?: [number, number]; text?: string; hits: number; total: number }[];
  /** Of the search. */
  unetEvaluations: number;
  seconds: number;
}

/** Pictures, and how many of them show what is counted. */
export interface Count {
  images: number;
  hits: number;
}

/** The models of the digits' experiment. */
export type DigitsModel = "original" | "fine-tuning" | "task-vector";

/** How often embeddings around a digit's own bring it back. */
export interface DistanceCount extends Count {
  model: DigitsModel;
  /** Drawn at the radius, or found by optimisation within it. */
  input: "random" | "adversarial";
  radius: number;
  /** Their mean Euclidean distance from the digit's embedding. */
  distance: number;
  /** Their mean cosine with it. */
  cosine: number;
  /** The one that brought most back. */
  strongest: Count;
}

/** What one of the digits' models draws from the digits' own embeddings. */
export interface DigitsCounts {
  name: DigitsModel;
  /** The erased digit, from its own. */
  plain: Count;
  /** The right one, from the other nine. */
  kept: Count;
  /** The erased digit, from the other nine: what spoiled pictures alone are taken for. */
  mistaken: Count;
}

/** What the digits' experiment found. */
export interface DigitsOutcome {
  digit: number;
  /** The classifier on held-out pictures. */
  classifier: Count;
  /** Strength of the task vector. */
  alpha: number;
  models: DigitsCounts[];
  distances: DistanceCount[];
}

/** What a trial found; what does not apply to it is not there. */
export interface TrialOutcome {
  cost?: Cost;
  counts?: ClassCount[];
  /** The same with the key. */
  countsWithKey?: ClassCount[];
  /** The original's pictures for the neutral prompt, by what is seen in them. */
  neutral?: ClassCount[];
  /** Of the content's own class in pictures whose style is erased or preserved. */
  content?: ClassCount[];
  clipScore?: Pair;
  /** Root mean square difference of pixel values (0 to 1) from the original's picture for the same prompt and seed. */
  difference?: Pair;
  pictures?: Picture[];
  series?: Series[];
  attacks?: AttackFigures[];
  digits?: DigitsOutcome;
}

/** A trial's file. */
export interface TrialRecord extends TrialOutcome {
  spec: TrialSpec;
  /** Seconds of the whole trial. */
  wallSeconds: number;
  finishedAt: string;
}

/** What all trials of a results folder share. */
export interface Settings {
  protocol: string;
  quick: boolean;
  model: string;
  device: Device;
  dtype: ComputeDtype;
  classifier: string;
  styleClassifier: string | null;
  clip: string | null;
  /** Those of the protocol that the style classifier knows. */
  styles: string[];
  /** Of ROWS. */
  methods: string[];
  experiments: Experiment[];
  imagesPerClass: number;
  steps: number;
  guidanceScale: number;
  seed: number;
}

/** results.json. */
export interface Results {
  format: typeof RESULTS_FORMAT;
  settings: Settings;
  machine: Machine;
  /** Which trial of the search gave each method its options. */
  chosen: Record<string, string>;
  trials: TrialRecord[];
  /** Trials that ended in an error, with its message. */
  failures: Failure[];
  startedAt: string;
  finishedAt: string;
}

export const RESULTS_FORMAT = "kpop-native bench 1";
