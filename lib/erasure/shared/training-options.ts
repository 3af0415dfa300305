import { integer, number, schedule, selector } from "../../options/kinds";
import { sparing } from "./update-filter";

/** Options of every method that trains the network's weights. */
export function training() {
  return {
    /** Updates of the weights. Default 1000. */
    iterations: integer(1000, "updates of the weights", { from: 1 }),
    /** z_t per iteration. Default 1. */
    batchSize: integer(1, "noisy latents per iteration", { from: 1 }),
    /** Adam's rate for the weights. Default 1e-5. */
    learningRate: schedule(1e-5, "Adam's rate for the weights"),
    /** The weights that may change. Default "xattn". */
    parameters: selector(
      "xattn",
      "weights that may change: a group (xattn, xattn-kv, selfattn, noxattn, full, ...) or a /pattern/",
    ),
    /** Weight of the loss that holds `preserve` and the neighbours in place. Default 1. */
    preserveWeight: number(1, "weight of the loss on the preserved prompts", { from: 0 }),
    ...sparing(),
  };
}

/** What the benchmark trains with on the built-in model; concepts are named in both ways that pictures are asked for. */
export const ENTRANT = Object.freeze({ iterations: 200, templates: ["{}", "a photo of a {}"] });
