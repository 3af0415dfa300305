import { crossAttention } from "../../diffusion/predict";
import { noisyLatents } from "../../diffusion/noisy-latents";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import { embeddingWidth } from "../../diffusion/text-encoders";
import { flag, integer, number, schedule, selector, templates } from "../../options/kinds";
import { group, type Option } from "../../options/option";
import { noGrad } from "../../runtime/grad-mode";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import { defineMethod, type OptionsOf } from "../method";
import { conceptColumns } from "../shared/concept-columns";
import { conceptPictures, ConceptPictures } from "../shared/concept-pictures";
import { InvertedConcepts, learnedWords, standIn } from "../shared/inverted-concepts";
import { fillTemplates } from "../shared/texts";
import { training } from "../shared/training-options";

const words = learnedWords();
const vectors: Option<number> = { ...words.vectors, default: 4 };

/** What of them a caption's columns depend on. */
interface Naming {
  readonly templates: readonly string[];
  readonly endToken: boolean;
  readonly invert: boolean;
  readonly inversion: { readonly vectors: number };
}

/**
 * FMN: Forget-Me-Not, by attention re-steering (Zhang et al. 2023, arXiv 2303.17591).
 *
 * Each iteration, on z_t of noised pictures of a concept at a uniform t and a caption that names it, θ' takes a step of
 * AdamW on ‖A_P‖₂: A = softmax(Q Kᵀ / √d) of every cross-attention module, head and place, P the columns of the concept's
 * tokens, all of it one vector; of several z_t the mean. Nothing says what is to be predicted in the concept's place.
 *
 * The name may first be replaced by words that are learned from the pictures, which stand for the concept more closely.
 */
export const fmn = defineMethod({
  name: "fmn",
  title: "Forget-Me-Not",
  short: "takes the attention off the concept's tokens",
  reference: "arXiv 2303.17591",
  kind: "training",
  cost: "1 UNet evaluation an iteration, and 500 for the words learned for each concept",
  entrant: false,
  options: {
    ...conceptPictures(),
    /** Pictures of each concept that the model makes. Default 8; the published sets have ten or so, of real pictures. */
    images: integer(8, "pictures of a concept that the model makes to train on", { from: 1 }),
    /** Captions, "{}" standing for the concept. Default "a photo of {}"; the published for styles is "a photo in the style of {}". */
    templates: templates(["a photo of {}"], 'captions of the pictures, such as "a photo of {}"'),
    /** Whether z_0 is zero in place of the pictures' latents: only noise is looked at, and without `invert` no picture is needed. Default false. */
    zeroLatents: flag(false, "train on noise alone; with --no-invert no picture is needed"),
    /** Whether the column of the text's end counts as the concept's. Default true. */
    endToken: flag(true, "leave the column of the text's end out of the loss"),
    /** Whether words are learned for the concept, to be forgotten in the place of its name. Default true. */
    invert: flag(true, "name the concept by its own words, and learn none for it"),
    /** How they are learned: 500 updates of 4 vectors on one latent each, at a rate of 1e-3 after 100 of warm-up. */
    inversion: group(
      {
        ...words,
        vectors,
        iterations: integer(500, "updates of the words", { from: 1 }),
        batchSize: integer(1, "noisy pictures in an update", { from: 1 }),
        learningRate: schedule({ from: 1e-3, to: 1e-3, shape: "constant", warmup: 100 }, "Adam's rate for the words"), // prettier-ignore
      },
      "words learned for the concept",
    ),
    ...training(),
    /** Default 35, the published; it is to be tried for each concept, as the rate is. Several concepts take turns. */
    iterations: integer(35, "updates of the weights", { from: 1 }),
    /** AdamW's rate. Default 2e-6, the published. */
    learningRate: schedule(2e-6, "AdamW's rate for the weights"),
    /** The weights that may change. Default "full", as published. */
    parameters: selector("full", "weights that may change: a group (xattn, full, ...) or a /pattern/"),
    /** AdamW's. >= 0, default 1e-2. */
    weightDecay: number(1e-2, "AdamW's weight decay", { from: 0 }),
    /** Norm that the gradients of all weights together are scaled down to. > 0, default 1. */
    maxGradientNorm: number(1, "norm that gradients are scaled down to", { above: 0 }),
  },
  fit: (o, model, { concepts }) =>
    scope(() => {
      columnsIn(o, model, concepts);
      if (o.invert) columnsIn({ ...o, templates: o.inversion.templates }, model, concepts);
    }),
  async run(job, o) {
    const { base, concepts, student } = job;
    const columns = columnsIn(o, base, concepts);
    const captions = fillTemplates(concepts, o.templates).map(({ text }) => text);
    const materials: ConceptPictures[] = [];
    if (o.invert || !o.zeroLatents)
      for (const concept of concepts) materials.push(await ConceptPictures.create(job, o, concept));
    const learned = o.invert
      ? InvertedConcepts.create(job, { ...o.inversion, mirror: o.mirror }, materials.map(({ images }) => images)) // prettier-ignore
      : null;
    const side = base.imageSize / base.vae.downsampling;
    const zero = Tensor.zeros([o.batchSize, base.unet.config.in_channels, side, side], { device: base.device }); // prettier-ignore
    const weights = await job.adam({ ...o, decoupled: true });
    const preservation = await job.preservation(o);

    /** z_t of a concept, and which of its captions each has. */
    const draw = (concept: number, i: number) => {
      if (!o.zeroLatents) {
        const { captions: drawn, ...batch } = materials[concept]!.batch(i, o.batchSize);
        const first = concept * o.templates.length;
        return { batch, texts: drawn.map((caption) => captions.indexOf(caption, first)) };
      }
      const draws = job.random.at("zero", i);
      const template = (item: number) => draws.at("caption", item).below(o.templates.length);
      const texts = Array.from({ length: o.batchSize }, (_, item) => concept * o.templates.length + template(item)); // prettier-ignore
      return { batch: noisyLatents(base.schedule, zero, draws.at("noise")), texts };
    };
    await job.iterate(o.iterations, async (i) => {
      const { batch, texts } = draw(i % concepts.length, i);
      const condition = await noGrad(() =>
        learned === null
          ? job.encode(texts.map((text) => captions[text]!))
          : learned.encode(texts.map((text) => captionOf(learned, text, o.templates))),
      );
      const mask = maskOf(
        texts.map((text) => columns[text]!),
        base,
      );
      const losses = await weights.update(i, async (backward) => {
        const maps = await crossAttention(student, batch, condition, { grad: true });
        const squares = maps.map((map) => map.to("float32").square().mul(mask).sum([1, 2, 3])); // (B)
        const attention = await backward(Tensor.stack(squares).sum(0).sqrt().mean());
        return { attention, ...(await preservation.step(i, batch, backward)) };
      });
      return { ...losses, ...(await preservation.search(i, batch)) };
    });
  },
});

/** Options of Forget-Me-Not, before defaults. @interface */
export type FmnOptions = OptionsOf<typeof fmn>;

/** The concept's columns in each caption, one concept's after the other. @throws INVALID_ARGUMENT */
function columnsIn(
  { templates: phrasings, endToken: end, invert, inversion }: Naming,
  model: StableDiffusion,
  concepts: readonly string[],
): number[][] {
  const { tokenizer } = model;
  const width = embeddingWidth(model);
  return concepts.flatMap((concept, index) => {
    const subject = invert ? standIn(index, inversion.vectors, width) : concept;
    return phrasings.map((template) => conceptColumns(tokenizer, template, subject, { end }));
  });
}

function captionOf({ words: own }: InvertedConcepts, text: number, phrasings: readonly string[]): string {
  const { token } = own[Math.floor(text / phrasings.length)]!;
  return phrasings[text % phrasings.length]!.replaceAll("{}", () => token);
}

/** (B, 1, 1, L), 1 in each item's columns. */
function maskOf(columns: readonly (readonly number[])[], { tokenizer, device }: StableDiffusion): Tensor {
  const places = tokenizer.maxLength;
  const mask = new Float32Array(columns.length * places);
  columns.forEach((own, item) => own.forEach((column) => (mask[item * places + column] = 1)));
  return Tensor.from(mask, [columns.length, 1, 1, places], { device });
}
