import { integer, invalid, jobOptions, knownKeys, nonEmptyString, oneOf } from "../check";
import { Lora } from "../diffusion/lora";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { fit, type Complete, type OptionSet } from "../options/option";
import { parseRunOptions, RUN_OPTIONS, type ParsedRunOptions } from "../training/run-options";
import type { PrepareReport } from "../training/step-report";
import { parseOptions, whyNoLora, type Method } from "./method";
import { methodNamed, type EraseOptions } from "./registry";
import { checkSubjects } from "./shared/subject-prompt";
import { NEIGHBOURS, type Neighbours, type NeighbourSettings } from "./shared/neighbours";

const COMMON = ["method", "concepts", "preserve", "neighbours", "as", "rank", "onPrepare", ...RUN_OPTIONS];
/** Of a LoRA that is trained, unless another is asked for. */
export const TRAINED_RANK = 4;

/** A run as it was asked for, checked as far as no model is needed. */
export interface Request {
  readonly method: Method;
  readonly own: Complete<OptionSet>;
  readonly concepts: string[];
  readonly preserve: string[];
  readonly neighbours: NeighbourSettings;
  /** Of the LoRA that is trained in the place of weights; null: they are trained themselves. */
  readonly rank: number | null;
  readonly run: ParsedRunOptions;
  readonly onPrepare: ((report: PrepareReport) => void) | undefined;
}

/** Refuses what does not fit the model. @throws INVALID_ARGUMENT naming the option */
export function fitRequest({ method, own, concepts, rank }: Request, base: StableDiffusion): void {
  fit(method.options, own, base);
  const { templates = ["{}"] } = own as { templates?: readonly string[] };
  checkSubjects(base.tokenizer, concepts, templates);
  if (rank !== null) integer("rank", rank, 1, Lora.fullRank(base.unet));
  method.fit?.(own, base, { concepts });
}

/** What was asked for, as far as no model is needed to check it. @throws INVALID_ARGUMENT naming the option */
export function parseRequest(options: EraseOptions): Request {
  if (typeof options !== "object" || options === null) throw invalid("options", "an object", options);
  const method = methodNamed(options.method ?? "kpop");
  knownKeys(`the options of "${method.name}"`, options, [...COMMON, ...Object.keys(method.options)]);
  const { preserve = [], onPrepare } = options;
  const concepts = typeof options.concepts === "string" ? [options.concepts] : options.concepts;
  if (!Array.isArray(concepts) || concepts.length === 0)
    throw invalid("concepts", "a non-empty string or a list of them", options.concepts);
  for (const concept of concepts) nonEmptyString("concepts", concept);
  if (new Set(concepts).size !== concepts.length) throw invalid("concepts", "free of repetitions", concepts);
  if (!Array.isArray(preserve)) throw invalid("preserve", "a list of strings", preserve);
  for (const prompt of preserve) {
    // " " is a prompt too: the published UCE runs hold it.
    if (typeof prompt !== "string") throw invalid("preserve", "a list of strings", prompt);
  }
  jobOptions(options, "onPrepare");
  const settings = parseRunOptions(options);
  const own = parseOptions(method, options as object as Record<string, unknown>, { concepts });
  const neighbours = neighboursFor(method, own, options.neighbours, concepts);
  return {
    method,
    own,
    rank: rankOf(method, own, options),
    concepts: [...concepts],
    preserve: [...preserve],
    neighbours,
    run: settings,
    onPrepare,
  };
}

/** @throws INVALID_ARGUMENT where a LoRA is asked for that the method does not train */
function rankOf(
  method: Method,
  own: Complete<OptionSet>,
  { as = "weights", rank }: Pick<EraseOptions, "as" | "rank">,
): number | null {
  if (oneOf("as", as, ["weights", "lora"] as const) === "weights") {
    if (rank !== undefined) throw invalid("rank", 'nothing unless as is "lora"', rank);
    return null;
  }
  const why = whyNoLora(method, own);
  if (why !== undefined) throw invalid("as", `"weights" with "${method.name}", which ${why},`, as);
  return integer("rank", rank ?? TRAINED_RANK, 1);
}

/** @throws INVALID_ARGUMENT where neighbours are asked for that the method has no use for */
function neighboursFor(
  method: Method,
  own: Complete<OptionSet>,
  given: Neighbours | undefined,
  concepts: readonly string[],
): NeighbourSettings {
  const settings = NEIGHBOURS.check("neighbours", given ?? NEIGHBOURS.default, { concepts });
  if (method.holds?.(own) ?? method.kind !== "inference") {
    const searches = method.searches ?? method.kind === "training";
    if (searches || settings.choose !== "adversarial") return settings;
    throw invalid(
      "neighbours",
      `"nearest" or "off" with "${method.name}", ${method.kind === "closed form" ? "a closed form, which has no iterations to look for them in," : "which trains on no text's prediction that could be harmed,"}`,
      given,
    );
  }
  if (given !== undefined && settings.choose !== "off")
    throw invalid(
      "neighbours",
      method.kind === "inference"
        ? `"off" with "${method.name}", which changes no weights,`
        : `"off" with "${method.name}" and these options, which leave other texts as they are,`,
      given,
    );
  return { ...settings, choose: "off" };
}
