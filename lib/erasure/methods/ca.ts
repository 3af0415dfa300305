import { either, integer, number, schedule, selector } from "../../options/kinds";
import { defineMethod, type OptionsOf } from "../method";
import { anchored, captionsOf } from "../shared/anchors";
import { caLoss, drawAnchors, fitCaLoss, trainOnCaLoss } from "../shared/ca-loss";
import { fitWords, TOKEN_EMBEDDING, TrainedWords, wordsOf } from "../shared/trained-words";
import { training } from "../shared/training-options";

/**
 * CA: concept ablation (Kumari et al. 2023, arXiv 2303.13516).
 *
 * The model draws pictures x of an anchor c*, once. Each iteration, on z_t of such pictures at a uniform t, θ' takes a
 * step of AdamW on ‖ε_θ'(z_t, t, c) - sg ε_θ'(z_t, t, c*)‖² ("model": sg stops gradients, and the anchor's prediction is
 * that of the student as it is), or on ‖ε_θ'(z_t, t, c) - n‖² with the noise n of z_t ("noise"); c is the caption c*
 * with the concept in it. The prior loss is ‖ε_θ'(z_t, t, c*) - n‖².
 *
 * All are means over elements; of scaled pictures, over the latents within their border. Pictures are sampled with the
 * checkpoint's own sampler; the paper's script has DPM-Solver++.
 */
export const ca = defineMethod({
  name: "ca",
  title: "CA",
  short: "trains the concept's captions to give what their anchor's give",
  reference: "arXiv 2303.13516",
  kind: "training",
  cost: "2 UNet evaluations a picture and iteration, after drawing the anchor's pictures",
  // Centred pictures of one size are all that the built-in model knows, so none are scaled.
  entrant: {
    ...{ anchor: "thing", templates: ["{}", "a photo of a {}"], images: 64 },
    ...{ samplingSteps: 15, guidanceScale: 3, augment: false },
  },
  options: {
    ...caLoss(),
    ...training(),
    /** Default 100, the paper's. On an earlier built-in model 400 at the same rate cost most of what was to stay. */
    iterations: integer(100, "updates of the weights", { from: 1 }),
    /** Pictures an iteration. Default 4, the paper's on each of two GPUs. */
    batchSize: integer(4, "pictures per iteration", { from: 1 }),
    /**
     * AdamW's rate. Default 1e-3: on an earlier built-in model, "church" with the anchor "castle", 100 iterations at 2e-4
     * left 13 churches of 20 pictures where there had been 14, 5e-4 left 2, and 1e-3 none, with 23 of 24 other pictures
     * still what they were named. "embedding" took 1e-2. Stable Diffusion 1.x has the paper's 1.6e-5; nothing was
     * measured at that size.
     */
    learningRate: schedule(1e-3, "AdamW's rate for the weights"),
    /**
     * The weights that may change; or "embedding": only the rows of the text encoder's embedding table that belong to
     * words which a concept has and its anchor has not. Default "xattn-kv".
     */
    parameters: either(
      selector("xattn-kv", "weights that may change: a group, a /pattern/, or the words' embeddings"),
      ["embedding"],
    ),
    /** AdamW's. >= 0, default 1e-2. */
    weightDecay: number(1e-2, "AdamW's weight decay", { from: 0 }),
    /** Norm that the gradients of all weights together are scaled down to. > 0, default 1. */
    maxGradientNorm: number(1, "norm that gradients are scaled down to", { above: 0 }),
  },
  check: (o, { concepts }) => void captionsOf(o, concepts),
  fit(o, model, { concepts }) {
    if (o.parameters === "embedding") fitWords(model, anchored(o, concepts));
    fitCaLoss(o, model);
  },
  network: ({ parameters }) => (parameters === "embedding" ? "textEncoder" : "unet"),
  // Texts without the trained words stay as they are by themselves.
  holds: ({ parameters }) => parameters !== "embedding",
  parameters: ({ parameters }) =>
    parameters === "embedding" ? (name) => name === TOKEN_EMBEDDING : parameters,
  keeps: ({ parameters }) => (parameters === "embedding" ? { extent: "text", learned: 0 } : {}),
  async run(job, o) {
    const { base, concepts, student } = job;
    const made = await drawAnchors(job, o);
    const words = await TrainedWords.instead(job, o.parameters, () =>
      wordsOf(base.tokenizer, anchored(o, concepts)),
    );
    const adam = { ...o, decoupled: true };
    const weights = words === null ? await job.adam(adam) : await job.learn("weights", words.tensors(), adam);
    await trainOnCaLoss(job, o, made, { student, weights }, words ?? job);
    await words?.write();
  },
});

/** Options of CA, before defaults. @interface */
export type CaOptions = OptionsOf<typeof ca>;
