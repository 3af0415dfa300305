import type { StableDiffusion, TrainedNetwork } from "../diffusion/stable-diffusion";
import type { CLIPTextModel } from "../models/clip-text";
import type { ParameterSelector } from "../models/parameter-selector";
import type { UNet2DConditionModel } from "../models/unet";
import type { Random } from "../runtime/random";
import type { Tensor } from "../runtime/tensor";
import type { EvaluationCounter } from "../training/evaluations";
import type { RunOptions } from "../training/run-options";
import type { RunState, TrainingState } from "../training/run-state";
import type { PrepareReport, StepReport } from "../training/step-report";
import type { TaskVector } from "./task-vector";

/** Options that every method takes. */
export interface CommonOptions extends RunOptions {
  /** What to erase: one or more prompts, normally a bare name each. */
  concepts: string | string[];
  /** Prompts whose pictures are to stay as they are. */
  preserve?: string[];
  /** Told while a method makes what it trains on, where it does: CA's pictures. */
  onPrepare?(report: PrepareReport): void;
}

/** A method's own options, complete and checked. */
export interface MethodOptions {
  readonly method: string;
}

/** What a method works with: never files, devices or flags. */
export interface ErasureContext {
  /** The model as it came; it stays as it is. */
  readonly base: StableDiffusion;
  /** The frozen network. */
  readonly teacher: UNet2DConditionModel;
  /** The UNet to change; it has float32 copies of `trained` and shares everything else with the teacher. */
  readonly student: UNet2DConditionModel;
  /** The text encoder of the result; it has the copies where `trained` are its keys. */
  readonly textEncoder: CLIPTextModel;
  /** Keys that the method may change: of the UNet, unless the method names another network. */
  readonly trained: readonly string[];
  readonly concepts: readonly string[];
  readonly preserve: readonly string[];
  readonly random: Random;
  readonly signal: AbortSignal | undefined;
  readonly onPrepare: ((report: PrepareReport) => void) | undefined;
  /** Tensors that the method leaves beside the weights; KPOP's prompt. */
  readonly store: Map<string, Tensor>;
  /** Task vectors that the method leaves beside the weights, one for each concept. */
  readonly taskVectors: TaskVector[];
  readonly evaluations: EvaluationCounter;
  /** Predictions of a network in its own compute dtype, given and returned in float32, counted. */
  predict(
    unet: UNet2DConditionModel,
    latents: Tensor,
    timesteps: readonly number[],
    context: Tensor,
    options?: Parameters<UNet2DConditionModel["forward"]>[3],
  ): Promise<Tensor>;
  /** Prompts as (B, L, d), by the text encoder as it came. */
  encode(prompts: readonly string[]): Promise<Tensor>;
  /** The saved state of this run, for the shared training loop. */
  readonly runState: RunState;
}

/** An erasure method: one file in methods/, one line in the registry. */
export interface ErasureMethod<O extends MethodOptions> {
  /** Registry key and value of the CLI's --method. */
  readonly name: string;
  /** The paper. */
  readonly reference: string;
  /** A closed form: it draws nothing at random, so a seed changes nothing. */
  readonly deterministic?: true;
  /** It learns a prompt that brings the concepts back: `Erasure.key`. */
  readonly givesKey?: true;
  /** Every option of the method's own with its default; flags and help come from here. */
  readonly defaults: Readonly<Omit<O, "method">>;
  /** One line of help for each of `defaults`. */
  readonly help: Readonly<Record<keyof Omit<O, "method">, string>>;
  /** Checks given options over the defaults, for a model and concepts. @throws INVALID_ARGUMENT naming the option */
  parse(given: Readonly<Record<string, unknown>>, base: StableDiffusion, concepts: readonly string[]): O;
  /** Whose weights those are that `parameters` selects. Default the UNet's. */
  network?(options: O): TrainedNetwork;
  /** The only weights it may change. */
  parameters(options: O): ParameterSelector;
  run(context: ErasureContext, options: O): AsyncIterable<StepReport>;
}

export type { PrepareReport, StepReport, TrainingState };
