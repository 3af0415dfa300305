import { KpopError } from "../errors";
import type { StableDiffusion, TrainedNetwork } from "../diffusion/stable-diffusion";
import type { ParameterSelector } from "../models/parameter-selector";
import { complete, type About, type Complete, type Given, type OptionSet } from "../options/option";
import type { RunOptions } from "../training/run-options";
import type { PrepareReport } from "../training/step-report";
import type { ErasureJob } from "./job";
import type { Neighbours } from "./shared/neighbours";

/** Options that every method takes. */
export interface CommonOptions extends RunOptions {
  /** What to erase: one or more prompts, normally a bare name each. */
  concepts: string | string[];
  /** Prompts whose pictures are to stay as they are. */
  preserve?: string[];
  /**
   * Words that are kept beside `preserve`, being near to the concepts. "nearest": the 100 nearest of the tokenizer's whole
   * words. "adversarial" leads training to those of them that the weights harm most, for an evaluation of either model more
   * for each of an iteration's latents. "off" keeps none, as in published figures. Default "nearest".
   */
  neighbours?: Neighbours;
  /**
   * What is trained: the chosen weights themselves, or "lora", factors of low rank of a change of each (LoRA, arXiv 2106.09685),
   * which `save` with the format "lora" writes as they are. Biases and scales of norms stay as they are then. For methods that
   * train weights of the UNet. Default "weights".
   */
  as?: "weights" | "lora";
  /** Rank of the factors. >= 1, default 4. */
  rank?: number;
  /** Told while a method makes what it trains on, where it does: CA's pictures, a pool's trajectories. */
  onPrepare?(report: PrepareReport): void;
}

/** How a method works. */
export type MethodKind = "closed form" | "training" | "inference";

/** A method as it is written: one file in methods/, one line in the registry. */
export interface MethodDefinition<N extends string, S extends OptionSet> {
  /** Value of `method`, and of the CLI's --method. */
  readonly name: N;
  /** What tables and plots call it. */
  readonly title: string;
  /** What it does, in one line. */
  readonly short: string;
  /** The paper. */
  readonly reference: string;
  /** An inference method changes no weights. */
  readonly kind: MethodKind;
  /** What it spends, in one line: the UNet's evaluations for one item, what is kept apart, or time. */
  readonly cost: string;
  /** Why a training does not train a LoRA in the place of weights: what it does instead. */
  readonly noLora?: string;
  /** Whether it draws at random, so that a seed tells runs apart. Default where it trains. */
  readonly draws?: boolean;
  /** Its own options. What it may change is chosen by the one called `parameters`, where it has one. */
  readonly options: S;
  /** What the benchmark runs it with on the built-in model; false: it is compared only where it is asked for. */
  readonly entrant: Readonly<Given<S>> | false;
  /** Names of the artefacts that it leaves beside the model. */
  artefacts?(concepts: readonly string[]): readonly string[];
  /** Fills in the `open` options that were not given. */
  settle?(o: Complete<S>, about: About): Complete<S>;
  /** Refuses values that do not go together; needs no model. @throws INVALID_ARGUMENT */
  check?(o: Complete<S>, about: About): void;
  /** Refuses what does not fit a model and the concepts. @throws INVALID_ARGUMENT */
  fit?(o: Complete<S>, model: StableDiffusion, about: About): void;
  /** Whose weights it may change. Default the UNet's. */
  network?(o: Complete<S>): TrainedNetwork;
  /** Whether it holds neighbours in place. Default where it changes weights. */
  holds?(o: Complete<S>): boolean;
  /** Whether it looks for the neighbours that are harmed most while it trains. Default where it trains weights. */
  readonly searches?: boolean;
  /** The only weights it may change. Default `o.parameters`; nothing without such an option. */
  parameters?(o: Complete<S>): ParameterSelector;
  /** What it keeps in memory, for an estimate. Default: a graph of one prediction for each item, and no more. */
  keeps?(o: Complete<S>, about: Kept): Keeping;
  /** Iterations, from 0, that begin something else than those before, which an estimate then looks at apart. Default none. */
  turns?(o: Complete<S>, about: About): readonly number[];
  /** Options in the place of those whose cost nobody knows before: searches, and functions of the caller. Default none. */
  unforeseen?(o: Complete<S>, about: About): Partial<Complete<S>>;
  run(job: ErasureJob, o: Complete<S>): Promise<void>;
}

/** What decides how much a method keeps. */
export interface Kept extends About {
  /** Whether it holds texts in place. */
  readonly held: boolean;
  /** Elements of the weights that it may change, and those of the whole network. */
  readonly trained: number;
  readonly model: StableDiffusion;
}

/** What a method keeps in memory beside what it trains. */
export interface Keeping {
  /** Predictions for each item in the largest graph. Default 1. */
  readonly graph?: number;
  /** Whole copies of the trained weights, in float32. Default 0. */
  readonly copies?: number;
  /** Elements that are learned in the place of the weights or beside them, in float32. Default: the weights' own. */
  readonly learned?: number;
  /** What gradients go through the network to: the trained weights, all of its weights, or the texts. Default "trained". */
  readonly extent?: "trained" | "whole" | "text";
}

/** A method, as `erase`, the command line and the benchmark take it. */
export type Method<N extends string = string, S extends OptionSet = OptionSet> = Readonly<
  MethodDefinition<N, S>
>;

/** A method's own options, complete and checked. @throws INVALID_ARGUMENT naming the option */
export function parseOptions<S extends OptionSet>(
  method: Method<string, S>,
  given: Readonly<Record<string, unknown>>,
  about: About,
): Complete<S> {
  const parsed = complete(method.options, given, about);
  const own = method.settle?.(parsed, about) ?? parsed;
  method.check?.(own, about);
  return own;
}

/** What a method with these options may change: a selection of a network's weights; null: none. */
export function changedBy(method: Method, o: Complete<OptionSet>): Changes | null {
  const parameters = method.parameters?.(o) ?? (o as { parameters?: ParameterSelector }).parameters;
  return parameters === undefined ? null : { network: method.network?.(o) ?? "unet", parameters };
}

/** Why a method with these options, as far as they are given, trains no LoRA; undefined where it does. */
export function whyNoLora(method: Method, given: Readonly<Record<string, unknown>>): string | undefined {
  const rather = 'save what it changes with the format "lora"';
  if (method.kind === "inference") return "changes no weights";
  if (method.kind === "closed form") return `is a closed form and trains nothing: ${rather}`;
  if (method.noLora !== undefined) return `${method.noLora}: ${rather}`;
  const network = method.network?.(given as Complete<OptionSet>) ?? "unet";
  return network === "unet" ? undefined : "with these options trains the text encoder's words";
}

/** What a method may change. */
export interface Changes {
  readonly network: TrainedNetwork;
  readonly parameters: ParameterSelector;
}

/** What a user gives for a method. */
export type OptionsOf<M extends Method> = CommonOptions & { method: M["name"] } & Given<M["options"]>;

const TEXTS = ["name", "title", "short", "reference", "cost"] as const;
const KINDS: readonly MethodKind[] = ["closed form", "training", "inference"];

/** A method, checked for what each has to have. @throws INVALID_ARGUMENT naming the field that is missing */
export function defineMethod<const N extends string, const S extends OptionSet>(
  definition: MethodDefinition<N, S>,
): Method<N, S> {
  const missing = (field: string, expected: string): KpopError =>
    new KpopError(
      "INVALID_ARGUMENT",
      `Expected the definition of the method ${JSON.stringify(definition.name)} to have ${field}, ${expected}`,
    );
  for (const field of TEXTS)
    if (typeof definition[field] !== "string" || definition[field] === "") throw missing(field, "a text");
  if (!KINDS.includes(definition.kind)) throw missing("kind", `one of ${KINDS.join(", ")}`);
  if (typeof definition.options !== "object") throw missing("options", "an object of options");
  if (definition.entrant === undefined) throw missing("entrant", "options for the benchmark, or false");
  if (typeof definition.run !== "function") throw missing("run", "a function of a job and the options");
  return Object.freeze({ ...definition, options: Object.freeze({ ...definition.options }) });
}
