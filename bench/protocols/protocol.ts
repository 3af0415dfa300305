import type { Options } from "../entrants";

/** Options of a method under a name for people. */
export interface Candidate {
  label: string;
  options: Options;
}

/** How one method takes part, where it is not by what is registered of it. */
export interface Entrant {
  /** Options of every trial; on pocket by default the method's `entrant`, else its defaults. */
  base?: Options;
  /** Options that the search tries on the tuning classes. One means no search. */
  candidates?: readonly Candidate[];
  /** Options of the style trials beside the chosen ones. */
  styles?: Options;
}

/** One attack of the robustness table. */
export interface AttackTrial {
  /** One of ATTACK_NAMES. */
  name: string;
  /** What tells it from the same attack with other options. */
  label?: string;
  /** Each of its inputs has a column of its own, under the input's name: "after 50". */
  byInput?: boolean;
  /**
   * It does not count where methods are compared by their strongest attack: it changes weights or brings back what any
   * network draws. One that is only for methods with a key never does.
   */
  apart?: boolean;
  options: Options;
  /** Options of a quick run over those. */
  quick: Options;
  /** It is against the key, and for methods that have one. */
  onlyWithKey?: boolean;
}

/** Everything that depends on the model under test: data, no code. */
export interface Protocol {
  name: string;
  title: string;
  /** "{}" stands for the class. */
  prompt: string;
  /** The ten classes in Imagenette's order: cassette player, chain saw, church, gas pump, tench, garbage truck, English
   *  springer, golf ball, parachute, French horn. The splits go by place. */
  classes: readonly string[];
  /** Classes of no split, for the search; null where options are the published ones. */
  tuning: { erased: readonly string[]; preserved: readonly string[] } | null;
  styles: {
    names: readonly string[];
    /** What is erased; "{}" stands for the style's name. */
    concept: string;
    /** Pictures are judged in these; "{style}" and "{}" stand for the style's name and the object's. */
    prompt: string;
    objects: readonly string[];
    /** What the methods that have these options are told there. */
    options?: Options;
  } | null;
  /** By row, or by method for both of its rows; one that is not named takes part with what is registered of it. */
  entrants: Readonly<Record<string, Entrant>>;
  /** Whose training is tracked, what it erases, and the texts that its prompt is compared with. */
  tracking: {
    methods: readonly string[];
    concept: string;
    neutral: string;
    texts: readonly string[];
    every: number;
  };
  /** What is erased and attacked, and how. */
  robustness: {
    concept: string;
    /** Methods that take part in this experiment alone. */
    also: readonly string[];
    /** Pictures of the original that attacks learn from. */
    pictures: number;
    attacks: readonly AttackTrial[];
  } | null;
  defaults: { imagesPerClass: number; steps: number; guidanceScale: number };
  /** Of a quick run; `iterations` and `images` take the place of a method's own. */
  quick: { imagesPerClass: number; iterations: number; images: number };
}

/** The splits of five erased classes of ten (by place); the other five are to stay. */
export const SPLITS: Readonly<Record<string, readonly number[]>> = {
  v1: [0, 2, 5, 8, 9],
  v2: [1, 3, 4, 6, 7],
  v3: [0, 1, 2, 3, 4],
  v4: [5, 6, 7, 8, 9],
};
/** The split of the ablations. */
export const ABLATION_SPLIT = "v1";
