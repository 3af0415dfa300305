import { integer as checkInteger, invalid } from "../check";
import type { PromptLayers, PromptMechanism } from "../models/unet";
import { choice, integer, number, promptLayers } from "../options/kinds";
import type { Complete, Fitting } from "../options/option";
import type { Random } from "../runtime/random";
import { Tensor } from "../runtime/tensor";
import { mostWords } from "./learned-tokens";
import { embeddingWidth } from "./text-encoders";
import { PROMPT_FORMS, PROMPT_PLACES, type PromptForm, type PromptPlace } from "./prompt-form";

/** What is taken where nothing is given. */
export interface PromptDefaults {
  readonly form: PromptForm;
  readonly place: PromptPlace;
  readonly hidden: number;
  readonly size: number;
  readonly mechanism: PromptMechanism;
  readonly layers: PromptLayers;
  readonly scale: number;
}

/** The prompt of KPOP's paper (arXiv 2403.12326), but for its start, which is not in it. */
export const AS_PUBLISHED: PromptDefaults = Object.freeze({
  form: "free",
  place: "cross-attention",
  hidden: 64,
  size: 10,
  mechanism: "concat",
  layers: "mid",
  scale: 0.02,
});

/** What a prompt that is to be learned is like. */
export function promptOptions(defaults: PromptDefaults) {
  return {
    /**
     * "free": the rows themselves are learned, as published, and every text gets the same. "amortised": what is learned is
     * a function of the text, p(c) = relu(c Aᵀ) B on each row c of its encoding, A and B of shape (hidden, d), which can
     * leave texts of other things alone (the paper's §4.3 leaves a prompt p(c) to future work; the function is ours).
     */
    form: choice<PromptForm>(
      defaults.form,
      PROMPT_FORMS,
      "free rows, as published, or amortised: a function of the text",
    ),
    /**
     * Where it enters: "cross-attention", or "token", before the text encoder: learned words that stand behind the text, the
     * paper's textual mechanism. Those have no mechanism and no layers, which are then not looked at, and are free.
     */
    place: choice<PromptPlace>(
      defaults.place,
      PROMPT_PLACES,
      "cross-attention, or token: learned words before the text encoder",
    ),
    /** Hidden units of an amortised prompt. */
    hidden: integer(defaults.hidden, "hidden units of an amortised prompt", { from: 1, to: 10_000 }),
    /**
     * Rows k of a concatenative prompt, or learned words; an additive one has the text's L rows. More bring more back: on
     * the shipped model, in "all", of five concepts after 200 iterations, 1 row 1 of 30 pictures, 10 rows 7, 100 rows 28.
     */
    size: integer(defaults.size, "rows of a concatenative prompt, or learned words", { from: 1, to: 10_000 }),
    /** How it enters cross-attention. */
    mechanism: choice<PromptMechanism>(
      defaults.mechanism,
      ["concat", "additive"],
      "how it enters cross-attention: concat or additive",
    ),
    /** The cross-attention layers that take it. */
    layers: promptLayers(defaults.layers, "layers that take it: mid, mid-up, all, or a name; repeatable"),
    /** Standard deviation of its start, N(0, scale²); A of an amortised one starts at N(0, 1/d). */
    scale: number(defaults.scale, "standard deviation of its start", { from: 0 }),
  };
}

/** A prompt's options, complete. */
export type PromptDesign = Complete<ReturnType<typeof promptOptions>>;

/** Refuses a form that has no such place. @param prefix of the names in messages @throws INVALID_ARGUMENT */
export function checkDesign({ form, place }: PromptDesign, prefix = ""): void {
  if (form === "amortised" && place === "token")
    throw invalid(`${prefix}form`, '"free" where place is "token"', form);
}

/** Refuses more words than a text has room for. @param prefix of the names in messages @throws INVALID_ARGUMENT */
export function fitDesign({ place, size }: PromptDesign, { tokenizer }: Fitting, prefix = ""): void {
  if (place === "token") checkInteger(`${prefix}size`, size, 1, mostWords(tokenizer));
}

/** Shape of the tensor that is learned for a model. */
export function promptShape(design: PromptDesign, model: Fitting): [rows: number, width: number] {
  const { form, place, hidden, size, mechanism } = design;
  if (place === "token") return [size, embeddingWidth(model)];
  const free = mechanism === "additive" ? model.tokenizer.maxLength : size;
  return [form === "amortised" ? 2 * hidden : free, model.unet.config.cross_attention_dim];
}

/** Where it starts when nothing else is given: float32, on the CPU. */
export function drawPrompt(
  design: PromptDesign,
  [rows, width]: readonly [number, number],
  draws: Random,
): Tensor {
  const { form, hidden, scale } = design;
  if (form === "free") return draws.normal([rows, width]).mul(scale);
  const down = draws.at("down").normal([hidden, width]).mul(width ** -0.5); // prettier-ignore
  return Tensor.cat([down, draws.at("up").normal([hidden, width]).mul(scale)]);
}
