import { invalid, jobOptions, knownKeys, nonEmptyString, tell } from "../check";
import { keyModel } from "../diffusion/key-model";
import { hashChanges, hashInputs } from "../diffusion/model-hash";
import { PromptKey } from "../diffusion/prompt-key";
import { StableDiffusion } from "../diffusion/stable-diffusion";
import { selectParameters } from "../models/parameter-selector";
import type { PromptLayers, PromptMechanism, UNet2DConditionModel } from "../models/unet";
import { addon } from "../runtime/binding";
import { unscoped } from "../runtime/scope";
import { Random } from "../runtime/random";
import type { Tensor } from "../runtime/tensor";
import { throwIfAborted } from "../errors";
import { EvaluationCounter } from "../training/evaluations";
import { parseRunOptions, RUN_OPTIONS, type ParsedRunOptions } from "../training/run-options";
import { RunState } from "../training/run-state";
import { Erasure } from "./erasure";
import { describeOptions, fingerprint, versions } from "./manifest";
import type { ErasureContext, MethodOptions, PrepareReport, StepReport } from "./method";
import type { CaOptions } from "./methods/ca";
import type { EsdOptions } from "./methods/esd";
import type { KpopOptions } from "./methods/kpop";
import type { TaskVectorOptions } from "./methods/task-vector";
import type { UceOptions } from "./methods/uce";
import { methodNamed } from "./registry";
import type { TaskVector } from "./task-vector";

/** Options of `erase`: a method's own beside those that every method takes. */
export type EraseOptions = KpopOptions | EsdOptions | UceOptions | CaOptions | TaskVectorOptions;

const COMMON = ["method", "concepts", "preserve", "onPrepare", ...RUN_OPTIONS];

interface Common extends ParsedRunOptions {
  concepts: string[];
  preserve: string[];
  onPrepare: ((report: PrepareReport) => void) | undefined;
}

/**
 * Erases concepts from a model. The model given is left as it was.
 *
 * @param model a loaded model, or what `StableDiffusion.load` takes
 * @throws INVALID_ARGUMENT (unknown options too), NUMERIC_FAILURE (a loss became NaN), OUT_OF_MEMORY, ABORTED, and for
 *   a path what `StableDiffusion.load` throws
 */
export async function erase(model: StableDiffusion | string, options: EraseOptions): Promise<Erasure> {
  if (typeof options !== "object" || options === null) throw invalid("options", "an object", options);
  const { method: name = "kpop" } = options;
  const method = methodNamed(name);
  const ownKeys = Object.keys(method.defaults);
  knownKeys(`the options of "${method.name}"`, options, [...COMMON, ...ownKeys]);
  const common = parseCommon(options);
  throwIfAborted(common.signal);
  return unscoped(async () => {
    const base =
      typeof model === "string"
        ? await StableDiffusion.load(model, common.signal === undefined ? {} : { signal: common.signal })
        : model;
    if (!(base instanceof StableDiffusion)) throw invalid("model", "a StableDiffusion or a path", model);
    try {
      const given = Object.fromEntries(
        Object.entries(options).filter(([key, value]) => ownKeys.includes(key) && value !== undefined),
      );
      const own = method.parse(given, base, common.concepts);
      return await run(base, common, method, own);
    } finally {
      if (typeof model === "string") base.dispose();
    }
  });
}

async function run(
  base: StableDiffusion,
  common: Common,
  method: ReturnType<typeof methodNamed>,
  own: MethodOptions,
): Promise<Erasure> {
  const inputs = await hashInputs(base, common.signal);
  const changes = await hashChanges(base);
  const described = describeOptions(own);
  const network = method.network?.(own) ?? "unet";
  const trained = selectParameters(method.parameters(own), base[network].parameterNames());
  const student = await base.derive(new Set(trained), "float32", network);
  const evaluations = new EvaluationCounter();
  const store = new Map<string, Tensor>();
  const taskVectors: TaskVector[] = [];
  const { concepts, preserve, seed } = common;
  const identity = {
    inputs,
    changes,
    described,
    concepts,
    preserve,
    seed,
    device: base.device,
    dtype: base.dtype,
  };
  const context: ErasureContext = {
    base,
    teacher: base.unet,
    student: student.unet,
    textEncoder: student.textEncoder,
    trained,
    concepts,
    preserve,
    random: new Random(seed),
    signal: common.signal,
    onPrepare: common.onPrepare,
    store,
    taskVectors,
    evaluations,
    predict: predictor(base, evaluations),
    encode: (prompts) => base.encode(prompts),
    runState: new RunState(common.checkpoint, common.resume, fingerprint(identity)),
  };
  try {
    const history: StepReport[] = [];
    for await (const report of method.run(context, own)) {
      history.push(report);
      await tell(common.onStep, report);
    }
    const key = await keyOf(store, described, concepts, student);
    const last = history.at(-1);
    return new Erasure({
      method: method.name,
      model: student,
      ...(key === undefined ? {} : { key }),
      taskVectors,
      history,
      manifest: {
        method: method.name,
        reference: method.reference,
        concepts,
        preserve,
        options: described,
        seed,
        versions: versions(),
        device: base.device,
        dtype: base.dtype,
        threads: addon().threads(),
        inputs,
        outputs: {},
        seconds: last?.seconds ?? 0,
        unetEvaluations: evaluations.total,
        iterations: last?.iteration ?? 0,
        changedParameters: trained.length,
        finishedAt: new Date().toISOString(),
      },
    });
  } catch (error) {
    student.dispose();
    for (const item of [...store.values(), ...taskVectors]) item.dispose();
    throw error;
  }
}

/** Predictions in the model's dtype, given and returned in float32. */
function predictor(base: StableDiffusion, evaluations: EvaluationCounter): ErasureContext["predict"] {
  return async (unet: UNet2DConditionModel, latents, timesteps, context, options = {}) => {
    evaluations.add(timesteps.length);
    const noise = await unet.forward(latents.to(base.dtype), timesteps, context, options);
    return noise.to("float32");
  };
}

async function keyOf(
  store: Map<string, Tensor>,
  options: Record<string, unknown>,
  concepts: string[],
  student: StableDiffusion,
): Promise<PromptKey | undefined> {
  const prompt = store.get("prompt");
  if (prompt === undefined) return undefined;
  const { mechanism, layers } = options["prompt"] as { mechanism: PromptMechanism; layers: PromptLayers };
  const model = await keyModel(student);
  return new PromptKey({ prompt, mechanism, layers, concepts, ...(model === undefined ? {} : { model }) });
}

function parseCommon(options: EraseOptions): Common {
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
  return { ...parseRunOptions(options), concepts: [...concepts], preserve: [...preserve], onPrepare };
}
