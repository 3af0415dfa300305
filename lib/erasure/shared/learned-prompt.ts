import { invalid } from "../../check";
import type { Injection } from "../../diffusion/predict";
import { PromptKey } from "../../diffusion/prompt-key";
import { choice, flag, integer, number, promptLayers, tensor } from "../../options/kinds";
import { group, type Complete, type Fitting, type Given } from "../../options/option";
import { keep, scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { ErasureJob } from "../job";

const OPTIONS = Object.freeze({
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
  /** Its start: (k, d), or (n, k, d) with `perConcept`; decides `size`. Default N(0, `scale`²). */
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

/** Refuses a start that has not the prompt's shape. @throws INVALID_ARGUMENT */
export function fitPrompt({ init, perConcept, mechanism }: Parsed, model: Fitting, concepts: number): void {
  if (init === undefined) return;
  const { shape } = init;
  const width = model.unet.config.cross_attention_dim;
  const rows = mechanism === "additive" ? model.tokenizer.maxLength : "k";
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
    const { init, mechanism, perConcept, scale, size } = options;
    const rows = init?.shape.at(-2) ?? (mechanism === "additive" ? base.tokenizer.maxLength : size);
    const count = perConcept ? concepts.length : 1;
    const shape = [rows, base.unet.config.cross_attention_dim];
    const prompts = Array.from({ length: count }, (_, index) =>
      scope(() => {
        const start = init
          ?.detach()
          .reshape([count, ...shape])
          .slice(0, index, index + 1)
          .reshape(shape);
        const drawn = start ?? random.at("prompt", index).normal(shape).mul(scale);
        return drawn.to({ dtype: "float32", device: base.device }).clone();
      }),
    );
    return new LearnedPrompt(options, prompts, conceptOf);
  }

  /** What is learned, by name. */
  tensors(): ReadonlyMap<string, Tensor> {
    return new Map(this.prompts.map((prompt, index) => [`prompt.${index}`, prompt]));
  }

  /** The prompts for a batch of texts. */
  injection(texts: readonly number[]): Injection {
    const { mechanism, layers, perConcept } = this.options;
    const prompt = perConcept
      ? Tensor.stack(texts.map((text) => this.prompts[this.conceptOf[text]!]!))
      : this.prompts[0]!;
    return { prompt, mechanism, layers };
  }

  /** (k, d), or (n, k, d): the key. */
  key(concepts: readonly string[]): PromptKey {
    const { mechanism, layers, perConcept } = this.options;
    const prompt = keep(
      scope(() => (perConcept ? Tensor.stack(this.prompts) : this.prompts[0]!.detach().clone())),
    );
    return new PromptKey({ prompt, mechanism, layers, concepts: [...concepts] });
  }
}
