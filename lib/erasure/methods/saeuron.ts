import { invalid } from "../../check";
import { KpopError } from "../../errors";
import { REMAINDERS, saeuronEditing, siteWidth } from "../../diffusion/interventions/saeuron";
import { choice, integer, number, path, schedule } from "../../options/kinds";
import type { Complete } from "../../options/option";
import { unscoped } from "../../runtime/scope";
import type { Tensor } from "../../runtime/tensor";
import type { ErasureJob } from "../job";
import { defineMethod, type OptionsOf } from "../method";
import { Activations, outputs } from "../shared/activations";
import { featureTables } from "../shared/feature-scores";
import { initialAutoencoder, trainAutoencoder } from "../shared/train-autoencoder";
import { SparseAutoencoder } from "../sparse-autoencoder";

const OPTIONS = {
  ...outputs(),
  /**
   * A saved autoencoder to use in place of training one: it is no concept's, so that one of the same model serves all.
   * `expansion`, `active` and the options of training mean nothing then. Default "", none.
   */
  autoencoder: path("", "a saved autoencoder to use in place of training one"),
  /** Latents for each channel of the outputs. Default 16. */
  expansion: integer(16, "latents of the autoencoder for each channel", { from: 1 }),
  /** k, latents that are active at each place. Default 32. */
  active: integer(32, "latents that are active at each place", { from: 1 }),
  /** Updates of the autoencoder. Default 10000; the published run has 1.3 million, over 2.7 TB of outputs. */
  iterations: integer(10_000, "updates of the autoencoder", { from: 1 }),
  /** Vectors per update. Default 4096. */
  batchSize: integer(4096, "vectors per update", { from: 2 }),
  /** Adam's rate. Default 4e-4, falling to 0 in a straight line. */
  learningRate: schedule({ from: 4e-4, to: 0, shape: "linear" }, "Adam's rate for the autoencoder"),
  /** Weight of the loss that keeps latents from staying unused. Default 1/32. */
  auxiliaryWeight: number(1 / 32, "weight of the loss on dead latents", { from: 0 }),
  /** Vectors after which a latent that none of them made active is dead. Default 10 million. */
  deadAfter: integer(10_000_000, "vectors after which an unused latent is dead", { from: 0 }),
  /**
   * p: a concept's features are the latents with scores above this percentile. Default 99.995, which of 20480 latents are 2;
   * the published runs choose among 99.99, 99.995 and 99.999 for each object, and have 99.999 for styles.
   */
  percentile: number(99.995, "percentile of the scores above which a latent is the concept's", { from: 0, to: 100 }), // prettier-ignore
  /**
   * γ: a feature is multiplied by γ times its mean for the concept. Default -10; the published runs choose among -1, -5, -10
   * to -30 for each object, and have -1 for styles.
   */
  multiplier: number(-10, "what features are multiplied by, beside their means for the concept"),
  /**
   * What becomes of what the autoencoder leaves out of an output: it is "kept" (default), or "inverted", as the published
   * code has it.
   */
  remainder: choice("kept", REMAINDERS, "what becomes of what the autoencoder leaves out: kept, or inverted as published"), // prettier-ignore
};

/**
 * SAeUron (Cywiński and Deja 2025, arXiv 2501.18052).
 *
 * A sparse autoencoder learns what a transformer of the UNet gives while the model draws the concepts and the held texts
 * (`preserve` and the neighbours). Latents that the concepts use more than the held texts do are their features
 * (`featureTables`), chosen for each timestep. From then on the model draws with them turned round (`saeuronEditing`), and
 * no weight changes. It costs two products of matrices an evaluation, and holds where this library draws.
 */
export const saeuron = defineMethod({
  name: "saeuron",
  title: "SAeUron",
  short: "turns features of a sparse autoencoder round while the model draws; changes no weights",
  reference: "arXiv 2501.18052",
  kind: "inference",
  cost: "for each picture that it learns from 2 UNet evaluations a step; yours then take two products more in each",
  draws: true,
  entrant: false,
  options: OPTIONS,
  artefacts: () => ["autoencoder"],
  holds: () => true,
  fit(o, { unet }) {
    const latents = o.expansion * siteWidth(unet, o.site);
    if (o.autoencoder === "" && o.active > latents)
      throw invalid("active", `at most ${latents}, the latents of the autoencoder,`, o.active);
  },
  keeps: (o, { model }) => ({
    learned: o.autoencoder === "" ? 2 * o.expansion * siteWidth(model.unet, o.site) ** 2 : 0,
  }),
  async run(job, o) {
    const others = job.held;
    if (others.length === 0)
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected a text or more to tell ${job.concepts.map((concept) => `"${concept}"`).join(", ")} from but received 0: give preserve, or leave neighbours on`,
      );
    const given = o.autoencoder === "" ? null : await openAutoencoder(job, o);
    const texts = [...job.concepts, ...others];
    const activations = await Activations.collect(job, texts, o);
    const autoencoder = given ?? (await train(job, activations, o));
    const { weights, active } = autoencoder;
    const counts = { concepts: job.concepts.length, texts: texts.length };
    const { change, threshold, chosen } = await featureTables(weights, activations, counts, { ...o, active }, job.signal); // prettier-ignore
    if (chosen === 0) refuseNone(job, activations.timesteps.length, autoencoder.latents, o);
    const { device } = job.base;
    const tables = { change: change.to({ device }), threshold: threshold.to({ device }) };
    const own = unscoped(() => shared(weights));
    job.intervene(
      saeuronEditing(
        {
          concepts: job.concepts,
          site: o.site,
          active,
          timesteps: activations.timesteps,
          remainder: o.remainder,
        },
        { ...own, ...tables },
      ),
    );
  },
});

/** Options of SAeUron, before defaults. @interface */
export type SaeuronOptions = OptionsOf<typeof saeuron>;

/** Handles of their own on an autoencoder's tensors: the artefact and the model are freed apart. */
function shared<T extends object>(weights: T): T {
  const entries = Object.entries(weights) as [string, Tensor][];
  return Object.fromEntries(entries.map(([name, tensor]) => [name, tensor.detach()])) as T;
}

/** No latent is a concept's: the result would draw what the model draws. */
function refuseNone(
  job: ErasureJob,
  steps: number,
  latents: number,
  { percentile }: Complete<typeof OPTIONS>,
): void {
  job.fruitless(
    new KpopError(
      "INVALID_ARGUMENT",
      `Expected latents with scores above their percentile ${percentile} but of ${latents} latents at each of ${steps} steps there are none: lower percentile, or give texts to preserve that differ more from the concepts`,
    ),
  );
}

/** @throws INVALID_ARGUMENT where it is of another site or width; what `SparseAutoencoder.load` throws */
async function openAutoencoder(job: ErasureJob, o: Complete<typeof OPTIONS>): Promise<SparseAutoencoder> {
  const { device, unet } = job.base;
  const cancel = job.signal === undefined ? {} : { signal: job.signal };
  const found = job.give(await SparseAutoencoder.load(o.autoencoder, { device, ...cancel }));
  const width = siteWidth(unet, o.site);
  if (found.site === o.site && found.width === width) return found;
  throw new KpopError(
    "INVALID_ARGUMENT",
    `Expected the autoencoder to be of ${o.site} with ${width} channels, but ${o.autoencoder} is of ${found.site} with ${found.width}: train one, or give its site`,
  );
}

async function train(
  job: ErasureJob,
  activations: Activations,
  o: Complete<typeof OPTIONS>,
): Promise<SparseAutoencoder> {
  const latents = o.expansion * siteWidth(job.base.unet, o.site);
  const first = activations.vectors(0, o.batchSize);
  const weights = unscoped(() => initialAutoencoder(job.random.at("autoencoder"), latents, first));
  const autoencoder = job.give(new SparseAutoencoder({ weights, site: o.site, active: o.active }));
  await trainAutoencoder(job, weights, (iteration, size) => activations.vectors(iteration, size), o);
  return autoencoder;
}
