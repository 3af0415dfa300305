import { invalid } from "../../check";
import { KpopError } from "../../errors";
import { selectParameters } from "../../models/parameter-selector";
import { integer, number, selectorAmong, steps as stepCount, templates, texts } from "../../options/kinds";
import { Tensor } from "../../runtime/tensor";
import { defineMethod, type OptionsOf } from "../method";
import { InputNorms, type StepNorms } from "../shared/input-norms";
import { withoutSkilled } from "../shared/skilled-weights";
import { fillTemplates } from "../shared/texts";

/** Where the published runs place an object. */
const PLACES = [
  ...["road", "garden", "beach", "room", "park", "street"],
  ...["shelter", "chair", "table", "bag", "tree", "forest"],
];

/**
 * ConceptPrune: pruning of skilled neurons (Chavhan et al. 2024, arXiv 2405.19237), without training.
 *
 * The model begins to draw pictures of the concept and of references without it. At each of the first steps, of each row of
 * the second weight matrix W (d, 4d) of a feed-forward block, those weights are skilled which have the largest scores
 * S_ij = |W_ij| ‖x_j‖ under the concept's prompts and larger ones there than under the references. They become 0, for all
 * concepts and steps together. x_j is the block's hidden activation, see `InputNorms`; S is Wanda's (arXiv 2306.11695).
 *
 * The prompts to preserve and the neighbours are references too: a weight also has to be used more for the concept than for
 * them. That is ours.
 */
export const conceptPrune = defineMethod({
  name: "concept-prune",
  title: "ConceptPrune",
  short: "sets the feed-forward weights to zero that the concept uses most, and more than references",
  reference: "arXiv 2405.19237",
  kind: "closed form",
  cost: "20 UNet evaluations a prompt, those of references and held texts among them; no training",
  draws: true,
  entrant: false,
  options: {
    /** Prompts of the concept, "{}" standing for it. Default in twelve places, "a {} in a road" and so on: the published. */
    templates: templates(
      PLACES.map((place) => `a {} in a ${place}`),
      'prompts of the concept, such as "a {} in a room"',
    ),
    /** Prompts of what is left without it. Default the places, "a road" and so on. */
    references: texts(
      PLACES.map((place) => `a ${place}`),
      "prompts of what is left without the concept",
      { blank: true, some: true },
    ),
    /** Share of a row's weights that may be skilled at a step. Default 0.02, published for objects; 0.01 for all else. */
    ratio: number(0.02, "share of a row's weights that may go for a step", { above: 0, to: 1 }),
    /** The first steps of denoising, which are looked at. Default 10, published; 9 for nudity. */
    watchedSteps: integer(10, "first steps of denoising that are looked at", { from: 1 }),
    /** A weight goes that is skilled at more than this share of those steps. >= 0 and < 1, default 0: at any. */
    // No weight is skilled at more than all steps.
    agreement: number(0, "share of those steps that a weight has to be skilled at more often than, below 1", { from: 0, below: 1 }), // prettier-ignore
    /** Steps of the trajectories, by the checkpoint's own sampler. Default 50. */
    samplingSteps: stepCount(50, "denoising steps of the trajectories, the first of which are taken"),
    /** Guidance scale of the trajectories. Default 7.5. */
    guidanceScale: number(7.5, "guidance scale of the trajectories", { from: 0 }),
    /** Starting noises; each prompt has a trajectory from each. Default 1. */
    noises: integer(1, "starting noises that each prompt is drawn from", { from: 1 }),
    /** Trajectories that are denoised together. Default 4. */
    batchSize: integer(4, "trajectories denoised together", { from: 1 }),
    /** Which of the second weight matrices of feed-forward blocks may change. Default "ff-out", all. */
    parameters: selectorAmong("ff-out", "feed-forward weights that may change: ff-out, or a /pattern/", {
      pattern: /\.ff\.net\.2\.weight$/,
      called: "the second weights of feed-forward blocks",
    }),
  },
  check({ watchedSteps, samplingSteps }) {
    if (watchedSteps > samplingSteps)
      throw invalid("watchedSteps", `at most samplingSteps (${samplingSteps})`, watchedSteps);
  },
  fit({ ratio, parameters }, { unet }) {
    const shapes = unet.parameterShapes();
    const names = selectParameters(parameters, Object.keys(shapes));
    const width = Math.min(...names.map((name) => shapes[name]![1]!));
    if (ratio * width < 1)
      throw invalid("ratio", `at least 1/${width}, one of the ${width} weights in a row,`, ratio);
  },
  async run(job, o) {
    const { concepts, neighbours, preserve, student, trained } = job;
    const own = concepts.map((concept) => fillTemplates([concept], o.templates).map(({ text }) => text));
    const near = neighbours.map((word, i) => o.templates[i % o.templates.length]!.replaceAll("{}", () => word)); // prettier-ignore
    const sets = [o.references, [...preserve, ...near]].filter((prompts) => prompts.length > 0);
    const modules = trained.map((name) => name.replace(/2\.weight$/, "0"));
    const norms = new InputNorms(job, modules, [...own, ...sets].flat().length, o);
    const measured: StepNorms[] = [];
    for (const prompts of [...own, ...sets]) measured.push(await norms.of(prompts));
    const others = measured.slice(own.length);

    let total = 0;
    await job.closedForm(trained.length, async (layer) => {
      const parameter = student.unet.parameter(trained[layer]!);
      const skills = measured.slice(0, own.length).map((steps) =>
        steps.map((layers, step) => ({
          concept: layers[layer]!,
          others: others.map((other) => other[step]![layer]!),
        })),
      );
      const { weight, pruned } = await withoutSkilled((await parameter.data()) as Float32Array, skills, o);
      await parameter.copyFrom(Tensor.from(weight, parameter.shape));
      total += pruned;
      return { pruned: pruned / weight.length };
    });
    if (total > 0) return;
    job.fruitless(
      new KpopError(
        "INVALID_ARGUMENT",
        `Expected the concept to use some of ${trained.length} layers' weights more than the references do but there are none: give other templates or references, a larger ratio (${o.ratio}), or a smaller agreement (${o.agreement})`,
      ),
    );
  },
});

/** Options of ConceptPrune, before defaults. @interface */
export type ConceptPruneOptions = OptionsOf<typeof conceptPrune>;
