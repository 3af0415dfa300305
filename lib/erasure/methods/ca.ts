import { invalid } from "../../check";
import { noisyLatents } from "../../diffusion/noisy-latents";
import { choice, either, flag, integer, number, schedule, selector } from "../../options/kinds";
import { noGrad } from "../../runtime/grad-mode";
import { defineMethod, type OptionsOf } from "../method";
import { AnchorPictures } from "../shared/anchor-pictures";
import { anchored, anchors, captionsOf } from "../shared/anchors";
import { maskedError } from "../shared/masked-error";
import { pictures } from "../shared/picture-options";
import { LEAST_CELLS } from "../shared/placement";
import { TOKEN_EMBEDDING, TrainedWords, wordsOf } from "../shared/trained-words";
import { training } from "../shared/training-options";
import { filterFor } from "../shared/update-filter";

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
    ...anchors(),
    ...pictures(),
    /**
     * What c is drawn to: the student's own prediction for c* ("model", default), or the "noise" in the latents. On an
     * earlier built-in model noise erased as well, but what the name then drew was not the anchor either.
     */
    objective: choice(
      "model",
      ["model", "noise"],
      "what the concept is drawn to: model, the prediction for its anchor, or noise",
    ),
    /** Weight of the prior loss, which holds c* in place: for names that overlap. >= 0, default 0. */
    priorWeight: number(0, "weight of the loss that holds the anchor in place", { from: 0 }),
    /** Whether pictures are mirrored, and for objects scaled. Default true. */
    augment: flag(true, "train on pictures as they are"),
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
  fit(o, { imageSize, tokenizer, vae }, { concepts }) {
    if (o.parameters === "embedding") wordsOf(tokenizer, anchored(o, concepts));
    if (o.augment && o.kind === "object" && imageSize / vae.downsampling < LEAST_CELLS)
      throw invalid("augment", `false for latents of less than ${LEAST_CELLS} × ${LEAST_CELLS}`, o.augment);
  },
  network: ({ parameters }) => (parameters === "embedding" ? "textEncoder" : "unet"),
  // Texts without the trained words stay as they are by themselves.
  holds: ({ parameters }) => parameters !== "embedding",
  parameters: ({ parameters }) =>
    parameters === "embedding" ? (name) => name === TOKEN_EMBEDDING : parameters,
  async run(job, o) {
    const { base, concepts, student } = job;
    const augmentation = !o.augment ? "none" : o.kind === "style" ? "mirror" : "scale";
    const made = await AnchorPictures.create(job, captionsOf(o, concepts), { ...o, augmentation });
    const words = await TrainedWords.instead(job, o.parameters, () =>
      wordsOf(base.tokenizer, anchored(o, concepts)),
    );
    const encoder = words ?? job;
    const learned = words?.tensors() ?? job.weights();
    const filter = await filterFor(job, o);
    const weights = await job.learn("weights", learned, { ...o, decoupled: true, filter });
    const preservation = await job.preservation(o);

    await job.iterate(o.iterations, async (i) => {
      const { anchors: named, mask, targets, clean } = await noGrad(() => made.next(i));
      const batch = noisyLatents(base.schedule, clean, job.random.at("noise", i)); // (B, 4, h, w)
      const predict = async (captions: readonly string[], grad: boolean) => {
        const condition = await (grad ? encoder.encode(captions) : noGrad(() => encoder.encode(captions)));
        return student.predict(batch, condition, { grad });
      };
      const losses = await weights.update(i, async (backward) => {
        const held = o.priorWeight > 0;
        const guided = o.objective === "model";
        const anchor = held || guided ? await predict(named, held) : null;
        const prior = held ? await backward(maskedError(anchor!, batch.noise, mask), o.priorWeight) : null;
        const target = guided ? anchor!.detach() : batch.noise;
        const erase = await backward(maskedError(await predict(targets, true), target, mask));
        return { erase, prior, ...(await preservation.step(i, batch, backward)) };
      });
      return { ...losses, ...(await preservation.search(i, batch)) };
    });
    await words?.write();
  },
});

/** Options of CA, before defaults. */
export type CaOptions = OptionsOf<typeof ca>;
