import { invalid } from "../../check";
import { KpopError } from "../../errors";
import type { AddedConditions, Tap, UNet2DConditionModel } from "../../models/unet";
import { Tensor } from "../../runtime/tensor";

/** Something that changes how a model denoises, and not its weights. A model carries it, and saves it. */
export interface Intervention {
  /** Names the kind; what reads it from a file. */
  readonly name: string;
  /** Of the kind's settings. */
  readonly version: number;
  /** What decides what it does, as JSON holds it. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** What decides it beside the settings, by name: saved beside the weights, and freed with the model. Default nothing. */
  readonly tensors?: ReadonlyMap<string, Tensor>;
  /** The same with handles of its own on the tensors, for another model to free. To be there where tensors are. */
  share?(): Intervention;
  /** Texts whose predictions its steering wants at each step, beside those of the prompt and of the empty text. */
  readonly prompts: readonly string[];
  /** Steers guidance along one trajectory. Default: it does not. */
  start?(): Steering;
  /** What is shown outputs of the network's modules in one forward, and may replace them, by name. Default nothing. */
  taps?(input: NetworkInput): Taps | Promise<Taps>;
}

/** One that steers guidance. */
export type SteeringIntervention = Intervention & Required<Pick<Intervention, "start">>;

/** An intervention as a file has it, its tensors in memory. */
export interface StoredIntervention {
  readonly version: number;
  readonly settings: Readonly<Record<string, unknown>>;
  /** float32, on the model's device. */
  readonly tensors: ReadonlyMap<string, Tensor>;
}

/** Functions on outputs of modules, by names of `tapNames()`. */
export type Taps = Readonly<Record<string, Tap>>;

/** What a network is given in one forward. */
export interface NetworkInput {
  readonly unet: UNet2DConditionModel;
  /** z_t, (B, 4, h, w), in the network's dtype. */
  readonly latents: Tensor;
  /** t of each item. */
  readonly timesteps: readonly number[];
  /** Token states of each item's text, (B, L, d). */
  readonly context: Tensor;
  /** What networks of Stable Diffusion XL are told beside; undefined of others. */
  readonly added?: AddedConditions | undefined;
  /** The texts, where they are known. */
  readonly texts?: readonly string[] | undefined;
}

/** An intervention at work on one trajectory. */
export interface Steering {
  /** What guidance takes for the conditional prediction. */
  steer(predictions: StepPredictions): Tensor;
  /** What it holds from one step to the next. */
  readonly retained: readonly Tensor[];
}

/** What a network predicts at one step; (B, 4, h, w) float32 each. */
export interface StepPredictions {
  readonly conditional: Tensor;
  /** Of the empty text; of the negative prompt where there is one. */
  readonly unconditional: Tensor;
  /** Of the intervention's own prompts. */
  readonly others: readonly Tensor[];
  /** The sampler's steps so far, from 0: the same for each evaluation of one. */
  readonly step: number;
}

/** Whether an intervention steers guidance. */
export function steersGuidance(intervention: Intervention): intervention is SteeringIntervention {
  return intervention.start !== undefined;
}

/** Frees what an intervention holds. */
export function freeIntervention({ tensors }: Intervention): void {
  for (const tensor of tensors?.values() ?? []) tensor.dispose();
}

/** An intervention for a model that is freed apart from the one which has it. */
export function shareIntervention(intervention: Intervention): Intervention {
  return intervention.share?.() ?? intervention;
}

/** The taps of several interventions, each on what the one before made of an output. */
export async function tapsOf(
  interventions: readonly Intervention[],
  input: NetworkInput,
): Promise<Taps | undefined> {
  let found: Record<string, Tap> | undefined;
  for (const intervention of interventions) {
    const taps = await intervention.taps?.(input);
    for (const [name, tap] of Object.entries(taps ?? {}))
      (found ??= {})[name] = found[name] === undefined ? tap : inTurn(found[name], tap);
  }
  return found;
}

function inTurn(first: Tap, then: Tap): Tap {
  return async (output) => {
    const replaced = await first(output);
    const shown = replaced instanceof Tensor ? replaced : output;
    return (await then(shown)) ?? shown;
  };
}

/** @throws UNSUPPORTED_FORMAT where settings are not of the version that is read */
export function checkVersion(name: string, found: number, read: number): void {
  if (found === read) return;
  throw new KpopError(
    "UNSUPPORTED_FORMAT",
    `Expected the intervention ${JSON.stringify(name)} to be of version ${read} but it is of version ${found}: update kpop-native`,
  );
}

/** @throws INVALID_ARGUMENT where there are other tensors, or of other shapes */
export function checkShapes(
  tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>,
  shapes: Readonly<Record<string, readonly number[]>>,
): void {
  for (const name of new Set([...Object.keys(shapes), ...tensors.keys()])) {
    const wanted = Object.hasOwn(shapes, name) ? shapes[name] : undefined;
    const found = tensors.get(name)?.shape;
    if (wanted?.join() === found?.join()) continue;
    throw invalid(`the tensor ${name}`, wanted === undefined ? "left out" : `of shape [${wanted.join(", ")}]`, found); // prettier-ignore
  }
}
