import { invalid } from "../../check";
import type { Condition } from "../../diffusion/condition";
import { keyModel } from "../../diffusion/key-model";
import { applyPrompt, type Prompted } from "../../diffusion/prompt-form";
import { PromptKey } from "../../diffusion/prompt-key";
import { AS_PUBLISHED, type PromptDefaults, checkDesign, drawPrompt, fitDesign, promptOptions, promptShape } from "../../diffusion/prompt-options"; // prettier-ignore
import { flag, number, tensor } from "../../options/kinds";
import { group, type Complete, type Fitting, type Given, type Option } from "../../options/option";
import { keep, scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { ErasureJob } from "../job";

function members(defaults: PromptDefaults, selectivity: number) {
  return Object.freeze({
    ...promptOptions(defaults),
    /**
     * Weight of the term that keeps other texts c_o what they are under the key, ‖ε_θ'(z_t, t, c_o, p) - ε_θ(z_t, t, c_o)‖²,
     * in the step of transfer. c_o are the prompts to preserve and the neighbours. Default 5; 0 as published.
     */
    selectivity: number(selectivity, "weight of keeping other texts what they are under the key", {
      from: 0,
    }),
    /**
     * Its start: (k, d), or (n, k, d) with `perConcept`; decides `size`. Of an amortised one (2 · hidden, d), the rows of A
     * before those of B. Default: draws of `scale`.
     */
    init: tensor("its start, in place of random draws"),
    /** A prompt of its own for each concept. Default false. */
    perConcept: flag(false, "one for each concept"),
  });
}

/** What is taken where nothing but an amortised form is asked for. */
const OPTIONS = members({ ...AS_PUBLISHED, form: "amortised", mechanism: "additive", layers: "all" }, 5);
/** What is taken where the published prompt is described: a free one. */
const PUBLISHED = members(AS_PUBLISHED, 0);
/** Members that a free prompt is described by. */
const DESCRIBES_FREE = ["size", "mechanism", "layers", "place", "init", "perConcept"];

/** The learned prompt of KPOP. @interface */
export type PromptOptions = Given<typeof OPTIONS>;
type Parsed = Complete<typeof OPTIONS>;

/**
 * The option that holds what a learned prompt is like. Without a form, a prompt of which size, mechanism, layers, place,
 * start or `perConcept` is given is the published one: free, behind the text ("concat") in the middle layer.
 */
export function learnedPrompt(): Option<Parsed, PromptOptions> {
  const [own, published] = [group(OPTIONS, "the learned prompt"), group(PUBLISHED, "the learned prompt")];
  const isPublished = (value: unknown): boolean => {
    if (typeof value !== "object" || value === null) return false;
    const { form, ...others } = value as PromptOptions;
    return form === undefined
      ? Object.keys(others).some((key) => DESCRIBES_FREE.includes(key))
      : form === "free";
  };
  return {
    ...own,
    check: (name, value, about) => (isPublished(value) ? published : own).check(name, value, about),
  };
}

/** Refuses values that do not go together. @throws INVALID_ARGUMENT */
export function checkPrompt(options: Parsed): void {
  checkDesign(options, "prompt.");
  if (options.form === "amortised" && options.perConcept)
    throw invalid("prompt.perConcept", "false with an amortised prompt, which tells concepts apart", true);
}

/** Refuses a size or a start that does not fit the model. @throws INVALID_ARGUMENT */
export function fitPrompt(options: Parsed, model: Fitting, concepts: number): void {
  const { init, form, place, perConcept, mechanism } = options;
  fitDesign(started(options), model, "prompt.");
  if (init === undefined) return;
  const { shape } = init;
  const [count, width] = promptShape(options, model);
  const any = form === "free" && (place === "token" || mechanism === "concat");
  const fits =
    shape.length === (perConcept ? 3 : 2) &&
    shape.at(-1) === width &&
    (any || shape.at(-2) === count) &&
    (!perConcept || shape[0] === concepts);
  if (fits) return;
  const each = perConcept ? `${concepts} (one for each concept), ` : "";
  throw invalid("prompt.init", `of shape (${each}${any ? "k" : count}, ${width})`, shape);
}

/** The options with the size that a start has. */
function started(options: Parsed): Parsed {
  return { ...options, size: options.init?.shape.at(-2) ?? options.size };
}

/** Prompts in the making: one for all concepts, or one for each. */
export class LearnedPrompt {
  private constructor(
    private readonly job: ErasureJob,
    private readonly options: Parsed,
    /** (k, d) each, float32. */
    private readonly prompts: readonly Tensor[],
    /** The concept of each text that is trained on. */
    private readonly conceptOf: readonly number[],
  ) {}

  /** At the given start, or at random draws. */
  static create(job: ErasureJob, options: Parsed, conceptOf: readonly number[]): LearnedPrompt {
    const { base, concepts, random } = job;
    const { init, perConcept } = options;
    const count = perConcept ? concepts.length : 1;
    const shape = promptShape(started(options), base);
    const prompts = Array.from({ length: count }, (_, index) =>
      scope(() => {
        const start = init
          ?.detach()
          .reshape([count, ...shape])
          .slice(0, index, index + 1)
          .reshape(shape);
        return (start ?? drawPrompt(options, shape, random.at("prompt", index)))
          .to({ dtype: "float32", device: base.device })
          .clone();
      }),
    );
    return new LearnedPrompt(job, options, prompts, conceptOf);
  }

  /** What is learned, by name. */
  tensors(): ReadonlyMap<string, Tensor> {
    return new Map(this.prompts.map((prompt, index) => [`prompt.${index}`, prompt]));
  }

  /**
   * Conditions under the prompt, wherever it enters.
   * @param texts that the items of a batch are trained on, which decide whose prompt each item gets
   */
  apply<const C extends readonly Condition[]>(texts: readonly number[], conditions: C): Promise<Prompted<C>> {
    const prompt = this.options.perConcept
      ? Tensor.stack(texts.map((text) => this.prompts[this.conceptOf[text]!]!))
      : this.prompts[0]!;
    return applyPrompt(this.job.base, prompt, this.options, conditions);
  }

  /** (k, d), (n, k, d), or (2 · hidden, d): the key. */
  async key({ concepts, signal, student }: ErasureJob): Promise<PromptKey> {
    const { form, place, mechanism, layers, perConcept } = this.options;
    const prompt = keep(
      scope(() => (perConcept ? Tensor.stack(this.prompts) : this.prompts[0]!.detach().clone())),
    );
    const model = await keyModel(student, signal);
    const bound = model === undefined ? {} : { model };
    return new PromptKey({ prompt, form, place, mechanism, layers, concepts: [...concepts], ...bound });
  }
}
