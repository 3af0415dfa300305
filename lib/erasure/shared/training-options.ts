import { finite, integer } from "../../check";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import { selectParameters, type ParameterSelector } from "../../models/parameter-selector";
import { parseSchedule, type Schedule } from "../../nn/schedules";

/** Options of every method that trains the network's weights. */
export interface TrainingOptions {
  /** Updates of the weights. Default 1000. */
  iterations?: number;
  /** z_t per iteration. Default 1. */
  batchSize?: number;
  /** Adam's rate for the weights. */
  learningRate?: Schedule;
  /** The weights that may change. Default "xattn". */
  parameters?: ParameterSelector;
  /** Weight of the loss that holds `preserve` in place. Default 1. */
  preserveWeight?: number;
}

/** All but the learning rate, of which each method knows its own. */
export const trainingDefaults: Readonly<Required<Omit<TrainingOptions, "learningRate">>> = Object.freeze({
  iterations: 1000,
  batchSize: 1,
  parameters: "xattn",
  preserveWeight: 1,
});

export const trainingHelp: Readonly<Record<keyof TrainingOptions, string>> = Object.freeze({
  iterations: "updates of the weights",
  batchSize: "noisy latents per iteration",
  learningRate: "Adam's rate for the weights",
  parameters:
    "weights that may change: a group (xattn, xattn-kv, selfattn, noxattn, full, ...) or a /pattern/",
  preserveWeight: "weight of the loss on the preserved prompts",
});

/** @throws INVALID_ARGUMENT naming the option */
export function checkTrainingOptions(options: Required<TrainingOptions>, base: StableDiffusion): void {
  integer("iterations", options.iterations, 1);
  integer("batchSize", options.batchSize, 1);
  parseSchedule("learningRate", options.learningRate);
  selectParameters(options.parameters, base.unet.parameterNames());
  finite("preserveWeight", options.preserveWeight, 0);
}
