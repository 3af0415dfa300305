import { integer, invalid, jobOptions, knownKeys, nonEmptyString, oneOf } from "../check";
import { freeIntervention, shareIntervention } from "../diffusion/interventions/intervention";
import { digest, modelIdentity, optionsIdentity } from "../diffusion/identity";
import { Lora } from "../diffusion/lora";
import { hashInputs, rememberBase } from "../diffusion/model-hash";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { checkModel, pathOf, withModel } from "../diffusion/with-model";
import { traced } from "../diagnostics";
import { KpopError, throwIfAborted } from "../errors";
import { hubPlace } from "../files/hub-place";
import { selectParameters } from "../models/parameter-selector";
import { fit, type Complete, type OptionSet } from "../options/option";
import { addon } from "../runtime/binding";
import { Random } from "../runtime/random";
import { unscoped } from "../runtime/scope";
import { parseRunOptions, RUN_OPTIONS, type ParsedRunOptions } from "../training/run-options";
import type { PrepareReport } from "../training/step-report";
import { Erasure } from "./erasure";
import { ErasureJob } from "./job";
import { describeOptions, versions, type RunManifest } from "./manifest";
import { changedBy, parseOptions, whyNoLora, type Method } from "./method";
import { NEIGHBOURS, nearestWords, type Neighbours, type NeighbourSettings } from "./shared/neighbours";
import { methodNamed, type EraseOptions } from "./registry";

const COMMON = ["method", "concepts", "preserve", "neighbours", "as", "rank", "onPrepare", ...RUN_OPTIONS];
/** Of a LoRA that is trained, unless another is asked for. */
export const TRAINED_RANK = 4;

/** A run as it was asked for, checked as far as no model is needed. */
interface Request {
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

/**
 * Erases concepts from a model. The model given is left as it was. Options are checked before a model is loaded.
 *
 * @param model a loaded model, or what `StableDiffusion.load` takes
 * @throws INVALID_ARGUMENT (unknown options too), NUMERIC_FAILURE (a loss became NaN), OUT_OF_MEMORY, ABORTED, and for
 *   a path what `StableDiffusion.load` throws
 */
export async function erase(model: StableDiffusion | string, options: EraseOptions): Promise<Erasure> {
  const request = parseRequest(options);
  checkModel("model", model);
  const { signal, seed } = request.run;
  throwIfAborted(signal);
  return traced(
    "kpop-native:erase",
    () => ({
      operation: "erase" as const,
      model: pathOf(model),
      method: request.method.name,
      concepts: [...request.concepts],
      seed,
    }),
    () => unscoped(() => withModel(model, signal, (base) => run(base, request))),
    ({ manifest: { iterations, seconds, unetEvaluations, changedParameters } }) => ({
      ...{ iterations, seconds, unetEvaluations, changedParameters },
    }),
  );
}

async function run(base: StableDiffusion, request: Request): Promise<Erasure> {
  const { method, own, concepts, preserve, rank } = request;
  const { seed, signal } = request.run;
  fit(method.options, own, base);
  method.fit?.(own, base, { concepts });
  const { choose } = request.neighbours;
  const choosing = { signal, onPrepare: request.onPrepare };
  // The one waits for the disk and hashes, the other encodes texts.
  const [inputs, words] = await both(
    hashBase(base, signal),
    choose === "off" ? Promise.resolve([]) : nearestWords(base, concepts, request.neighbours, choosing),
  );
  const neighbours = [...words];
  const changes = changedBy(method, own);
  const network = changes?.network ?? "unet";
  const chosen = changes === null ? [] : selectParameters(changes.parameters, base[network].parameterNames());
  const trained = rank === null ? chosen : matrices(chosen, base);
  const result = await base.derive(new Set(trained), "float32", network, []);
  const teacher = await base.derive(new Set(), undefined, "unet", []);
  const lora = rank === null ? null : await Lora.start(result, rank, new Random(seed).at("lora"), trained);
  const student = lora?.on(result, teacher.unet) ?? result;
  const form = rank === null ? {} : { as: "lora", rank };
  const identity = async () =>
    digest({
      model: await modelIdentity(base, signal),
      options: await optionsIdentity(method.options, own),
      ...{ method: method.name, concepts, preserve, neighbours, choose, seed, ...form },
    });
  const job = new ErasureJob(
    {
      ...{ base, teacher, student, network, trained, lora, concepts, preserve, neighbours },
      adversarial: choose === "adversarial",
    },
    { ...request.run, onPrepare: request.onPrepare, identity },
  );
  try {
    await job.run(() => method.run(job, own));
    const last = job.history.at(-1);
    return new Erasure({
      method: method.name,
      model: result.withInterventions([...base.interventions.map(shareIntervention), ...job.interventions]),
      artefacts: job.artefacts,
      lora: lora ?? undefined,
      history: job.history,
      manifest: {
        method: method.name,
        reference: method.reference,
        concepts,
        preserve,
        neighbours,
        options: describeOptions({ method: method.name, neighbours: request.neighbours, ...form, ...own }),
        seed,
        versions: versions(),
        device: base.device,
        dtype: base.dtype,
        threads: addon().threads(),
        ...hubOrigin(base.source.path),
        inputs,
        outputs: {},
        seconds: last?.seconds ?? 0,
        unetEvaluations: job.evaluations.total,
        iterations: last?.iteration ?? 0,
        changedParameters: trained.length,
        finishedAt: new Date().toISOString(),
      },
    });
  } catch (error) {
    result.dispose();
    lora?.dispose();
    for (const artefact of job.artefacts) artefact.dispose();
    for (const intervention of job.interventions) freeIntervention(intervention);
    throw error;
  } finally {
    teacher.dispose();
  }
}

/** SHA-256 of the files, and what a delta has to know of them. */
async function hashBase(
  base: StableDiffusion,
  signal: AbortSignal | undefined,
): Promise<Record<string, string>> {
  const inputs = await hashInputs(base, signal);
  await rememberBase(base, signal);
  return inputs;
}

/** What both give. Where one fails nothing of the other goes on. */
async function both<A, B>(one: Promise<A>, other: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([one, other]);
  return [await one, await other];
}

/** The repository and commit of a checkpoint in a hub's cache, as the manifest has it. */
function hubOrigin(path: string): Pick<RunManifest, "hub"> {
  const { repository, revision } = hubPlace(path) ?? {};
  return repository === undefined || revision === undefined ? {} : { hub: { repository, revision } };
}

/** Those that a LoRA can change. @throws INVALID_ARGUMENT where there are none */
function matrices(keys: readonly string[], { unet }: StableDiffusion): string[] {
  const shapes = unet.parameterShapes();
  const found = keys.filter((key) => shapes[key]!.length > 1);
  if (found.length > 0) return found;
  throw new KpopError(
    "INVALID_ARGUMENT",
    `Expected parameters to select matrices or convolutions, which alone a LoRA changes, but all ${keys.length} that it selects are biases or scales of norms; train them as "weights"`,
  );
}

/** @throws INVALID_ARGUMENT naming the option */
function parseRequest(options: EraseOptions): Request {
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
    if (method.kind === "training" || settings.choose !== "adversarial") return settings;
    throw invalid(
      "neighbours",
      `"nearest" or "off" with "${method.name}", ${method.kind === "closed form" ? "a closed form, which" : "which"} has no iterations to look for them in,`,
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
