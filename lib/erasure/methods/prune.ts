import { networkOf } from "../../diffusion/predict";
import { invalid } from "../../check";
import { KpopError } from "../../errors";
import { parseSchedule } from "../../nn/schedules";
import { choice, integer, number, schedule, steps } from "../../options/kinds";
import { open, type OptionSet } from "../../options/option";
import { defineMethod, type OptionsOf } from "../method";
import { captionsOf } from "../shared/anchors";
import { caLoss, drawAnchors, fitCaLoss, trainOnCaLoss } from "../shared/ca-loss";
import { esdLoss, trainOnEsdLoss } from "../shared/esd-loss";
import { checkTrajectories, trajectories } from "../shared/latent-options";
import type { Trainee } from "../shared/trainee";
import { training } from "../shared/training-options";
import { WeightMask } from "../shared/weight-mask";

const { iterations, parameters, preserveWeight } = training();
/** Options of one of the losses, or of both. */
const OF: Readonly<Record<"esd" | "ca", OptionSet>> = {
  esd: { ...esdLoss(), ...trajectories() },
  ca: caLoss(),
};
/** How many pictures may be made and where they are kept, which changes nothing where none are made. */
const PICTURES: readonly string[] = ["images", "cacheDirectory"];
/** Of the way that logits have to go: sums of rates are rounded. */
const ROUNDING = 1e-9;

/**
 * Pruning for robust concept erasing (Yang et al. 2024, arXiv 2405.16534): P-ESD and P-AC. The weights stay as they are, and
 * which of them become 0 is learned, with the loss of ESD or of CA taken at θ ⊙ m.
 *
 * The paper's relaxation, its sparsity weight and its rates were not known to us, and no code is public; these are ours:
 * m = 1 where σ(s) > ½, gradients go to the logits s as if m were σ(s) (`WeightMask`), and each iteration Adam moves s on
 *   L(θ ⊙ m) + ρ · mean(1 - σ(s)).
 */
export const prune = defineMethod({
  name: "prune",
  title: "Learned mask",
  short: "learns which weights become zero, by ESD's or CA's loss; the others stay as they are",
  reference: "arXiv 2405.16534",
  kind: "training",
  cost: "4 UNet evaluations an iteration, 3 on the teacher's trajectories; with CA's loss 2 a picture",
  entrant: false,
  noLora: "learns which weights become zero",
  options: {
    /** Whose loss the mask is learned with: "esd" (P-ESD, default), or "ca" (P-AC), which takes the options of CA's anchors. */
    loss: choice("esd", ["esd", "ca"], "whose loss the mask is learned with: esd or ca"),
    ...{ iterations, parameters, preserveWeight },
    /** z_t per iteration. Default 1; with CA's loss 4 pictures. */
    batchSize: open(integer(1, "noisy latents per iteration; default 1, with loss ca 4", { from: 1 })),
    /** Adam's rate for the logits, which move by about as much a step. Default 1e-2. */
    learningRate: schedule(1e-2, "Adam's rate for the mask's logits"),
    /** s of every weight at the beginning: what it is away from being pruned. > 0, default 1. */
    margin: number(1, "where the mask's logits begin, above 0", { above: 0 }),
    /**
     * ρ: weight of the share that is pruned. >= 0, default 0.3, which on the built-in model prunes 1 to 2 % of
     * cross-attention; nothing was measured at SD-1.4's size.
     */
    sparsityWeight: number(0.3, "weight of the share of weights that are pruned", { from: 0 }),
    ...esdLoss(),
    ...caLoss(),
    ...trajectories(),
    /** Steps of the trajectories, or of the anchors' pictures. Default 50; with CA's loss 25. */
    samplingSteps: open(steps(50, "steps of trajectories or pictures; default 50, with loss ca 25")),
  },
  settle: (o) => ({
    ...o,
    batchSize: o.batchSize ?? (o.loss === "ca" ? 4 : 1),
    samplingSteps: o.samplingSteps ?? (o.loss === "ca" ? 25 : 50),
  }),
  check(o, { concepts }) {
    const rate = parseSchedule("learningRate", o.learningRate);
    const way = Array.from({ length: o.iterations }, (_, i) => rate(i, o.iterations)).reduce((a, b) => a + b);
    if (way < o.margin * (1 - ROUNDING))
      throw invalid(
        "margin",
        `at most ${way}, the way that ${o.iterations} iterations at learningRate lead the logits,`,
        o.margin,
      );
    refuseOthers(o.loss, o);
    if (o.loss === "ca") captionsOf(o, concepts);
    else checkTrajectories(o);
  },
  fit(o, model) {
    if (o.loss === "ca") fitCaLoss(o, model);
  },
  // Logits, and of the mask what its graph keeps.
  keeps: () => ({ copies: 4 }),
  async run(job, o) {
    const made = o.loss === "ca" ? await drawAnchors(job, o) : null;
    const mask = WeightMask.create(job, o.margin);
    const player = await job.learn("mask", mask.logits, o);
    const trainee: Trainee = {
      student: { ...networkOf(job.student), substitutes: () => mask.masked() },
      weights: {
        async update(i, body) {
          const losses = await player.update(i, async (backward) => {
            const own = await body(backward);
            await backward(mask.sparsity(), o.sparsityWeight);
            return own;
          });
          return { ...losses, pruned: mask.pruned() };
        },
      },
    };
    if (made === null) await trainOnEsdLoss(job, o, trainee);
    else await trainOnCaLoss(job, o, made, trainee);
    await mask.write();
    if ((await mask.pruned().item()) > 0) return;
    job.fruitless(
      new KpopError(
        "INVALID_ARGUMENT",
        `Expected the mask to take some weights but after ${o.iterations} iterations all have stayed: lower sparsityWeight (${o.sparsityWeight}) or margin (${o.margin}), or train longer`,
      ),
    );
  },
});

/** Refuses what only the other loss would read, but for `PICTURES`. @throws INVALID_ARGUMENT */
function refuseOthers(loss: "esd" | "ca", o: Readonly<Record<string, unknown>>): void {
  const other = loss === "ca" ? "esd" : "ca";
  for (const [name, option] of Object.entries(OF[other])) {
    if (name in OF[loss] || PICTURES.includes(name) || option.aliasOf !== undefined) continue;
    const [value, initial] = [o[name], option.default as unknown];
    const empty = Array.isArray(value) && Array.isArray(initial) && value.length + initial.length === 0;
    if (value !== initial && !empty) throw invalid("loss", `"${other}", whose option "${name}" is,`, loss);
  }
}

/** Options of the learned mask, before defaults. @interface */
export type PruneOptions = OptionsOf<typeof prune>;
