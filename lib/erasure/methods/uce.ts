import { finite, invalid, oneOf } from "../../check";
import { KpopError } from "../../errors";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import { selectParameters, type ParameterSelector } from "../../models/parameter-selector";
import { noGrad } from "../../runtime/grad-mode";
import { scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { CommonOptions, ErasureContext, ErasureMethod, StepReport } from "../method";
import { applyRidgeEdit, ridgeEdit, type RidgeEdit } from "../shared/closed-form";
import { pairRows, promptRows, type GuidedConcept, type RowAlignment } from "../shared/paired-rows";
import { runMethod, type MethodRun } from "../shared/run-method";
import { readLosses } from "../../training/read-losses";
import { encodeRows, type TextRows } from "../shared/text-rows";
import { checkTemplates } from "../shared/texts";

/** Options of UCE, before defaults. */
export interface UceOptions extends CommonOptions {
  method: "uce";
  /**
   * What the concepts are to give instead: one text for all, or one for each. Default "", which with the bare name as
   * template stands for the start token; the paper takes "art" for artists.
   */
  guide?: string | string[];
  /**
   * "last-token": the row of the concept's last token goes where that of its guide goes; of prompts to preserve
   * the last token is held. The authors' current script.
   * "tail": also all rows behind, end tokens included, as far as both texts have them; of prompts to preserve all rows
   * are held. Their first script, on which RECE builds.
   * "all": row i of the text goes where row i of the guide's goes; of prompts to preserve all rows are held.
   *
   * Default "tail": the rows behind the last token know the concept as well. On an earlier built-in model, with the twelve
   * phrasings of its captions as templates, "last-token" left four churches of four (guide "", "a photo"), "tail" none
   * (guide "dog", five prompts preserved).
   */
  alignment?: RowAlignment;
  /** Weight of a concept's rows, > 0. Default 1. */
  eraseScale?: number;
  /**
   * Weight of the preserved prompts' rows, >= 0; "shared" is max(0.1, 1/n) for n prompts. Default "shared"; 1 for
   * "last-token".
   */
  preserveScale?: number | "shared";
  /** Weight λ > 0 of staying with the old weights. Default 0.5. */
  lambda?: number;
  /**
   * "replace" (default): the target is the guide's output. "tensor": that output without its component along the concept's
   * own, both taken as one (rows × channels) matrix.
   */
  technique?: "replace" | "tensor";
  /** Ways to name a concept, "{}" standing for it and for its guide; all are edited. Default the bare name. */
  templates?: string[];
  /** Which keys and values of cross-attention are edited. Default "xattn-kv", all; /attn2\.to_k/ the keys alone. */
  parameters?: ParameterSelector;
}

/** Complete and checked. */
type Parsed = Required<Omit<UceOptions, keyof CommonOptions>>;

const defaults: Readonly<Omit<Parsed, "method">> = Object.freeze({
  guide: "",
  alignment: "tail" as const,
  eraseScale: 1,
  preserveScale: "shared" as const,
  lambda: 0.5,
  technique: "replace" as const,
  templates: ["{}"],
  parameters: "xattn-kv" as const,
});

/**
 * UCE: unified concept editing (arXiv 2308.14761).
 *
 * Every key and value projection W of cross-attention is replaced by the minimiser of
 *   Σ_e s_e ‖W' k_e - v_e‖² + Σ_r s_r ‖W' k_r - W k_r‖² + λ ‖W' - W‖²_F
 * where k_e are token states of the concepts, v_e = W g_e what W gives for their guides', and k_r token states of the
 * prompts to preserve (eq. 7). No network is evaluated but the text encoder, and no step is random. Moderation, in the
 * paper's sense, is erasing a list of names for what is unwanted.
 *
 * One report for each projection: `erase`, the mean of (W'k_e - v_e)², and `preserve`, the mean of (W'k_r - W k_r)².
 */
export const uce: ErasureMethod<Parsed> = {
  name: "uce",
  reference: "arXiv 2308.14761",
  deterministic: true,
  defaults,
  help: {
    guide: "text that the concepts are turned into: one for all, or one for each",
    alignment: 'token rows that are edited: "last-token", "tail" (it and all behind) or "all"',
    eraseScale: "weight of the concepts' token rows",
    preserveScale: 'weight of the preserved prompts\' token rows; but for "last-token" max(0.1, 1/prompts)',
    lambda: "weight of staying with the old weights",
    technique: '"replace" by what the guide gives, or by what is left of it off the concept\'s ("tensor")',
    templates: 'ways to name a concept, such as "a photo of a {}"',
    parameters: "keys and values that may change: xattn-kv, or a /pattern/",
  },
  parse,
  parameters: (options) => options.parameters,
  run,
};

function parse(
  given: Readonly<Record<string, unknown>>,
  base: StableDiffusion,
  concepts: readonly string[],
): Parsed {
  const o = { ...defaults, ...given, method: "uce" } as Parsed;
  const guides: unknown[] = Array.isArray(o.guide) ? o.guide : [o.guide];
  if (guides.length === 0 || guides.some((guide) => typeof guide !== "string"))
    throw invalid("guide", "a string or a list of strings", o.guide);
  oneOf("alignment", o.alignment, ["last-token", "tail", "all"]);
  positive("eraseScale", o.eraseScale);
  positive("lambda", o.lambda);
  oneOf("technique", o.technique, ["replace", "tensor"]);
  checkTemplates(o.templates);
  pairRows(base.tokenizer, guided(concepts, o.guide), o.templates, o.alignment);
  const selected = selectParameters(o.parameters, base.unet.parameterNames());
  const other = selected.find((name) => !/\.attn2\.to_[kv]\.weight$/.test(name));
  if (other !== undefined)
    throw invalid("parameters", "a choice among the keys and values of cross-attention", other);
  const published = o.alignment === "last-token" ? 1 : defaults.preserveScale;
  const preserveScale = given["preserveScale"] === undefined ? published : o.preserveScale;
  if (preserveScale !== "shared") finite("preserveScale", preserveScale, 0);
  return { ...o, preserveScale };
}

function positive(name: string, value: unknown): void {
  if (finite(name, value, 0) === 0) throw invalid(name, "a number > 0", value);
}

function run(context: ErasureContext, options: Parsed): AsyncIterable<StepReport> {
  return runMethod(context, context.trained.length, UceRun.create(context, options));
}

/** What serves every projection, made once. */
class UceRun implements MethodRun {
  private constructor(
    private readonly context: ErasureContext,
    private readonly ridge: RidgeEdit,
    /** Null for "replace", whose targets the ridge edit knows. */
    private readonly tensorTargets: TensorTargets | null,
  ) {}

  static async create(context: ErasureContext, options: Parsed): Promise<UceRun> {
    const { eraseScale, lambda, technique } = options;
    const { tokenizer } = context.base;
    const pairs = pairRows(
      tokenizer,
      guided(context.concepts, options.guide),
      options.templates,
      options.alignment,
    );
    const kept = context.preserve.map((prompt) => promptRows(tokenizer, prompt, options.alignment));
    const preserveScale =
      options.preserveScale === "shared" ? Math.max(0.1, 1 / kept.length) : options.preserveScale;
    const made = await scope(async () => {
      const sources = pairs.map(({ source }) => source);
      const keys = await encodeRows(context, sources);
      const guides = await encodeRows(
        context,
        pairs.map(({ guide }) => guide),
      );
      const moved = {
        rows: keys,
        weights: eraseScale,
        ...(technique === "replace" ? { targets: guides } : {}),
      };
      const held =
        kept.length === 0 ? {} : { held: { rows: await encodeRows(context, kept), weights: preserveScale } };
      return {
        ridge: await ridgeEdit({ moved, ...held, lambda }),
        tensorTargets:
          technique === "replace"
            ? null
            : { keys, guides, membership: rowsOfTexts(sources, context.base.device) },
      };
    });
    return new UceRun(context, made.ridge, made.tensorTargets);
  }

  /** Edits one projection of the student. */
  async step(index: number): Promise<Record<string, number>> {
    const { teacher, student, trained } = this.context;
    const name = trained[index]!;
    const { ridge, tensorTargets } = this;
    const weight = teacher.parameter(name); // (out, d)
    const values = tensorTargets === null ? undefined : noGrad(() => withoutOwn(tensorTargets, weight));
    const { weight: edited, movedError, heldError } = applyRidgeEdit(ridge, weight, values);
    await student.parameter(name).copyFrom(edited);
    return readLosses({ erase: movedError, preserve: heldError });
  }

  tensors(): ReadonlyMap<string, Tensor> {
    const { student, trained } = this.context;
    return new Map(trained.map((name) => [`weight.${name}`, student.parameter(name)]));
  }

  numbers(): null {
    return null;
  }

  restore(): void {
    // The weights are all there is.
  }

  close(): void {
    const { moved, gain, held } = this.ridge;
    const { keys, guides, membership } = this.tensorTargets ?? {};
    const rows = moved.form === "rows" ? [moved.keys, moved.targets] : [moved.residue];
    for (const tensor of [...rows, gain, held?.gain, keys, guides, membership]) tensor?.dispose();
  }
}

/** What the targets of "tensor" are made of. */
interface TensorTargets {
  /** Inputs k_e, (n, d). */
  readonly keys: Tensor;
  /** Inputs g_e of the guides, (n, d). */
  readonly guides: Tensor;
  /** 1 where a row (n) belongs to a text (T), else 0, (T, n). */
  readonly membership: Tensor;
}

/** V - <V, U> U, (n, out), text by text, with V the guide's outputs and U the concept's, divided by their norm. */
function withoutOwn({ keys, guides, membership }: TensorTargets, weight: Tensor): Tensor {
  return scope(() => {
    const projection = weight.to("float64").transpose(0, 1); // (d, out)
    const own = keys.matmul(projection); // (n, out)
    const given = guides.matmul(projection); // (n, out)
    const byText = (products: Tensor): Tensor => membership.matmul(products.sum(1, true)); // (T, 1)
    // Where the concept has no output, nothing lies along it.
    const share = byText(own.mul(given)).div(byText(own.square()).clamp(Number.MIN_VALUE, Infinity));
    return given.sub(own.mul(membership.transpose(0, 1).matmul(share)));
  });
}

/** @throws INVALID_ARGUMENT when there are several guides and not one for each concept */
function guided(concepts: readonly string[], guide: string | readonly string[]): GuidedConcept[] {
  if (typeof guide === "string") return concepts.map((concept) => ({ concept, guide }));
  if (guide.length !== concepts.length) {
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected guide to be one text or ${concepts.length}, one for each concept, but received ${guide.length}`,
    );
  }
  return concepts.map((concept, index) => ({ concept, guide: guide[index]! }));
}

function rowsOfTexts(texts: readonly TextRows[], device: string): Tensor {
  const total = texts.reduce((sum, { count }) => sum + count, 0);
  const elements = new Float64Array(texts.length * total);
  let start = 0;
  texts.forEach(({ count }, text) => {
    elements.fill(1, text * total + start, text * total + start + count);
    start += count;
  });
  return Tensor.from(elements, [texts.length, total], { device });
}
