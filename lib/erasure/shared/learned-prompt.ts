import { invalid } from "../../check";
import type { Injection } from "../../diffusion/predict";
import { keyModel } from "../../diffusion/key-model";
import { amortisedPrompt, PromptKey } from "../../diffusion/prompt-key";
import { choice, flag, integer, number, promptLayers, tensor } from "../../options/kinds";
import { group, type Complete, type Fitting, type Given } from "../../options/option";
import type { Random } from "../../runtime/random";
import { keep, scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { ErasureJob } from "../job";

const OPTIONS = Object.freeze({
  /**
   * "free": the rows themselves are learned, as published, and every text gets the same. "amortised": what is learned is
   * a function of the text, p(c) = relu(c Aᵀ) B on each row c of its encoding, A and B of shape (hidden, d), which leaves
   * texts of other things alone (left to future work in §4.3). Default "free".
   */
  form: choice(
    "free",
    ["free", "amortised"],
    "free rows, as published, or amortised: a function of the text",
  ),
  /** Hidden units of an amortised prompt. Default 64. */
  hidden: integer(64, "hidden units of an amortised prompt", { from: 1, to: 10_000 }),
  /**
   * Weight of the term that keeps other texts c_o what they are under the key, ‖ε_θ'(z_t, t, c_o, p) - ε_θ(z_t, t, c_o)‖²,
   * in the step of transfer. c_o are the prompts to preserve and the neighbours. Default 0.
   */
  selectivity: number(0, "weight of keeping other texts what they are under the key", { from: 0 }),
  /**
   * Rows k of a concatenative prompt; an additive one has the text's L rows. Default 10. More bring more back: on the
   * shipped model, in "all", of five concepts after 200 iterations, 1 row 1 of 30 pictures, 10 rows 7, 100 rows 28.
   */
  size: integer(10, "rows of a concatenative prompt", { from: 1, to: 10_000 }),
  /** Default "concat". */
  mechanism: choice("concat", ["concat", "additive"], "how it enters cross-attention: concat or additive"),
  /**
   * The cross-attention layers that take it. Default "mid", the paper's. The fewer they are, the longer the key takes to
   * learn: on the shipped model, in "mid", it brings "church" back in 16 of 16 pictures after 1000 iterations, but none
   * of five concepts after 200, where "all" brings back 7 of 30. It draws other prompts to the concept as well.
   */
  layers: promptLayers("mid", "layers that take it: mid, mid-up, all, or a name; repeatable"),
  /** Standard deviation of the default start. Default 0.02. */
  scale: number(0.02, "standard deviation of its start", { from: 0 }),
  /**
   * Its start: (k, d), or (n, k, d) with `perConcept`; decides `size`. Of an amortised one (2 · hidden, d), the rows of A
   * before those of B. Default N(0, `scale`²), and N(0, 1/d) for A.
   */
  init: tensor("its start, in place of random draws"),
  /** A prompt of its own for each concept. Default false. */
  perConcept: flag(false, "one for each concept"),
});

/** The learned prompt of KPOP. */
export type PromptOptions = Given<typeof OPTIONS>;
type Parsed = Complete<typeof OPTIONS>;

/** The option that holds what a learned prompt is like. */
export function learnedPrompt() {
  return group(OPTIONS, "the learned prompt");
}

/** Refuses values that do not go together. @throws INVALID_ARGUMENT */
export function checkPrompt({ form, perConcept }: Parsed): void {
  if (form === "amortised" && perConcept)
    throw invalid("prompt.perConcept", "false with an amortised prompt, which tells concepts apart", true);
}

/** Refuses a start that has not the prompt's shape. @throws INVALID_ARGUMENT */
export function fitPrompt(options: Parsed, model: Fitting, concepts: number): void {
  const { init, form, hidden, perConcept, mechanism } = options;
  if (init === undefined) return;
  const { shape } = init;
  const width = model.unet.config.cross_attention_dim;
  const free = mechanism === "additive" ? model.tokenizer.maxLength : "k";
  const rows = form === "amortised" ? 2 * hidden : free;
  const fits =
    shape.length === (perConcept ? 3 : 2) &&
    shape.at(-1) === width &&
    (rows === "k" || shape.at(-2) === rows) &&
    (!perConcept || shape[0] === concepts);
  if (fits) return;
  const each = perConcept ? `${concepts} (one for each concept), ` : "";
  throw invalid("prompt.init", `of shape (${each}${rows}, ${width})`, shape);
}

/** Prompts in the making: one for all concepts, or one for each. */
export class LearnedPrompt {
  private constructor(
    private readonly options: Parsed,
    /** (k, d) each, float32. */
    private readonly prompts: readonly Tensor[],
    /** The concept of each text that is trained on. */
    private readonly conceptOf: readonly number[],
  ) {}

  /** At the given start, or at N(0, scale²). */
  static create(job: ErasureJob, options: Parsed, conceptOf: readonly number[]): LearnedPrompt {
    const { base, concepts, random } = job;
    const { init, form, hidden, mechanism, perConcept, scale, size } = options;
    const width = base.unet.config.cross_attention_dim;
    const amortised = form === "amortised";
    const free = init?.shape.at(-2) ?? (mechanism === "additive" ? base.tokenizer.maxLength : size);
    const count = perConcept ? concepts.length : 1;
    const shape = [amortised ? 2 * hidden : free, width];
    const prompts = Array.from({ length: count }, (_, index) =>
      scope(() => {
        const start = init
          ?.detach()
          .reshape([count, ...shape])
          .slice(0, index, index + 1)
          .reshape(shape);
        return (start ?? drawn(random.at("prompt", index)))
          .to({ dtype: "float32", device: base.device })
          .clone();
      }),
    );
    return new LearnedPrompt(options, prompts, conceptOf);

    function drawn(draws: Random): Tensor {
      if (!amortised) return draws.normal(shape).mul(scale);
      const down = draws
        .at("down")
        .normal([hidden, width])
        .mul(width ** -0.5);
      return Tensor.cat([down, draws.at("up").normal([hidden, width]).mul(scale)]);
    }
  }

  /** What is learned, by name. */
  tensors(): ReadonlyMap<string, Tensor> {
    return new Map(this.prompts.map((prompt, index) => [`prompt.${index}`, prompt]));
  }

  /** The prompts for a batch of texts. */
  injection(texts: readonly number[]): Injection {
    const { form, mechanism, layers, perConcept } = this.options;
    const [only] = this.prompts as [Tensor];
    if (form === "amortised")
      return { prompt: (context) => amortisedPrompt(only, context), mechanism, layers };
    const prompt = perConcept
      ? Tensor.stack(texts.map((text) => this.prompts[this.conceptOf[text]!]!))
      : only;
    return { prompt, mechanism, layers };
  }

  /** (k, d), (n, k, d), or (2 · hidden, d): the key. */
  async key({ concepts, signal, student }: ErasureJob): Promise<PromptKey> {
    const { form, mechanism, layers, perConcept } = this.options;
    const prompt = keep(
      scope(() => (perConcept ? Tensor.stack(this.prompts) : this.prompts[0]!.detach().clone())),
    );
    const model = await keyModel(student, signal);
    const bound = model === undefined ? {} : { model };
    return new PromptKey({ prompt, form, mechanism, layers, concepts: [...concepts], ...bound });
  }
}
