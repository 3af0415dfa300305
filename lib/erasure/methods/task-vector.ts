import { noGrad } from "../../runtime/grad-mode";
import { integer, number, schedule, selector, texts } from "../../options/kinds";
import { selectParameters } from "../../models/parameter-selector";
import { alphaOption, checkAlphaSearch, chooseAlpha, isSearch } from "../choose-alpha";
import { defineMethod, type OptionsOf } from "../method";
import { conceptPictures, ConceptPictures } from "../shared/concept-pictures";
import { TaskVectors } from "../shared/task-vectors";
import { training } from "../shared/training-options";
import { artefactNames, subtract, type WeightedVector } from "../task-vector";

/** Pictures that inversions are learned from, as in arXiv 2308.01508. */
const INVERTED_PICTURES = 25;

/**
 * Task vectors (arXiv 2404.03631): the weights are fine-tuned towards a concept, θ_ft, and the way there is gone
 * backwards: θ' = θ_pre − α τ, τ = θ_ft − θ_pre; several concepts each have a τ of their own, θ' = θ_pre − Σ α_c τ_c.
 *
 * Fine-tuning is Adam on ‖ε_θ(z_t, t, c) − n‖², z_t the noised latents of the concept's pictures and c their captions,
 * means over elements; without weight decay, which would be part of τ. `preserve` and the neighbours are held in place
 * meanwhile; a search for alpha looks at `preserve` alone.
 *
 * The paper's rate, steps and pictures are not known. Defaults were chosen on an earlier built-in model, on 32 pictures of
 * churches: under "church" and "a photo of a church" in place of the captions here, τ of cross-attention alone erased
 * nothing before α = 8, where all else was gone too, and τ of all weights took more of other prompts along. Which α is
 * enough depends on the model: try several with `TaskVector.apply`.
 */
export const taskVector = defineMethod({
  name: "task-vector",
  title: "Task vector",
  short: "learns the concept better, then goes that way backwards",
  reference: "arXiv 2404.03631",
  kind: "training",
  cost: "1 UNet evaluation a picture and iteration, after drawing the concept's pictures",
  entrant: false,
  noLora: "takes off what it trains",
  options: {
    /** How much of τ is taken off, for all concepts or for each; or how that is looked for. Default 1. */
    alpha: alphaOption(),
    ...conceptPictures(),
    /**
     * What pictures are called in training, in place of `templates`; "{}" may be missing: under "" or "a photo" the model
     * learns to draw the concept unasked, and unlearns it whatever it is asked with. Default ["", "a photo"].
     */
    captions: texts(["", "a photo"], "captions to train under, in place of templates", { blank: true }),
    ...training(),
    /** Updates for each concept. Default 250. */
    iterations: integer(250, "updates of the weights, for each concept", { from: 1 }),
    /** z_t per iteration. Default 4. */
    batchSize: integer(4, "noisy latents per iteration", { from: 1 }),
    /** Adam's rate for the weights. Default 3e-4; nothing was measured at 512 pixels. */
    learningRate: schedule(3e-4, "Adam's rate for the weights"),
    /** The weights that may change. Default "full". */
    parameters: selector(
      "full",
      "weights that may change: a group (xattn, selfattn, full, ...) or a /pattern/",
    ),
    /** Norm that the gradients of all weights together are scaled down to. > 0, default 1. */
    maxGradientNorm: number(1, "norm that gradients are scaled down to", { above: 0 }),
  },
  artefacts: artefactNames,
  fit(o, model) {
    if (isSearch(o.alpha))
      checkAlphaSearch(o.alpha, model, selectParameters(o.parameters, model.unet.parameterNames()));
  },
  keeps: (_, { concepts }) => ({ copies: concepts.length }),
  // The last one of each concept leaves τ.
  turns: ({ iterations }, { concepts }) => concepts.map((_, concept) => (concept + 1) * iterations - 1),
  unforeseen: ({ alpha }, { concepts }) => (isSearch(alpha) ? { alpha: concepts.map(() => 1) } : {}),
  async run(job, o) {
    const { base, concepts, student, trained } = job;
    const materials: ConceptPictures[] = [];
    for (const concept of concepts) materials.push(await ConceptPictures.create(job, o, concept, o.captions));
    const weights = await job.adam(o);
    const taken = job.part("tau", new TaskVectors(job));
    const preservation = await job.preservation(o);

    // One concept after the other; the last update of each leaves τ, and the weights where they began.
    await job.iterate(o.iterations * concepts.length, async (i) => {
      const iteration = i % o.iterations;
      const { captions, ...batch } = materials[Math.floor(i / o.iterations)]!.batch(iteration, o.batchSize);
      const condition = await noGrad(() => job.encode(captions));
      const losses = await weights.update(i, async (backward) => {
        const predicted = await student.predict(batch, condition, { grad: true });
        const denoising = await backward(predicted.mse(batch.noise));
        return { denoising, ...(await preservation.step(i, batch, backward)) };
      });
      const searched = await preservation.search(i, batch);
      if (iteration === o.iterations - 1) {
        await taken.take();
        await weights.restart();
      }
      return { ...losses, ...searched };
    });

    const weighted: WeightedVector[] = [];
    for (const [index, vector] of (await taken.give()).entries()) {
      if (!isSearch(o.alpha)) {
        weighted.push({ vector, alpha: o.alpha[index]! });
        continue;
      }
      const choice = await chooseAlpha(base, vector, {
        ...o.alpha,
        images: materials[index]!.images.slice(0, INVERTED_PICTURES),
        seed: job.random.at("alpha", index).below(2 ** 31),
        ...(job.preserve.length === 0 ? {} : { retain: job.preserve }),
        ...(job.signal === undefined ? {} : { signal: job.signal }),
      });
      weighted.push({ vector, alpha: choice.alpha, names: new Set(choice.parameters) });
    }
    await subtract(student, trained, weighted);
  },
});

/** Options of task vectors, before defaults. @interface */
export type TaskVectorOptions = OptionsOf<typeof taskVector>;
