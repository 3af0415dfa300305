import { freeIntervention, shareIntervention } from "../diffusion/interventions/intervention";
import { digest, modelIdentity, optionsIdentity } from "../diffusion/identity";
import { hashInputs, rememberBase } from "../diffusion/model-hash";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { checkModel, pathOf, withModel } from "../diffusion/with-model";
import { traced } from "../diagnostics";
import { throwIfAborted } from "../errors";
import { hubPlace } from "../files/hub-place";
import { addon } from "../runtime/binding";
import { unscoped } from "../runtime/scope";
import { Erasure } from "./erasure";
import { ErasureJob } from "./job";
import { describeOptions, versions, type RunManifest } from "./manifest";
import { chosenWeights, openParts } from "./open-parts";
import type { EraseOptions } from "./registry";
import { fitRequest, parseRequest, type Request } from "./request";
import { nearestWords } from "./shared/neighbours";

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

/** What was erased from models in memory, the first first. */
const runsOf = new WeakMap<StableDiffusion, readonly RunManifest[]>();

async function run(base: StableDiffusion, request: Request): Promise<Erasure> {
  const { method, own, concepts, preserve, rank } = request;
  const { seed, signal } = request.run;
  fitRequest(request, base);
  const { choose } = request.neighbours;
  const choosing = { signal, onPrepare: request.onPrepare };
  // The one waits for the disk and hashes, the other encodes texts.
  const [inputs, words] = await both(
    hashBase(base, signal),
    choose === "off" ? Promise.resolve([]) : nearestWords(base, concepts, request.neighbours, choosing),
  );
  const neighbours = [...words];
  const parts = await openParts(base, request, chosenWeights(request, base), neighbours);
  const { result, teacher, lora, trained } = parts;
  const form = rank === null ? {} : { as: "lora", rank };
  const identity = async () =>
    digest({
      model: await modelIdentity(base, signal),
      options: await optionsIdentity(method.options, own),
      ...{ method: method.name, concepts, preserve, neighbours, choose, seed, ...form },
    });
  const job = new ErasureJob(parts, { ...request.run, onPrepare: request.onPrepare, identity });
  try {
    await job.run(() => method.run(job, own));
    const last = job.history.at(-1);
    const before = runsOf.get(base) ?? [];
    const erasure = new Erasure({
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
        ...(before.length === 0 ? {} : { before: [...before] }),
        inputs,
        outputs: {},
        seconds: last?.seconds ?? 0,
        unetEvaluations: job.evaluations.total,
        iterations: last?.iteration ?? 0,
        changedParameters: trained.length,
        finishedAt: new Date().toISOString(),
      },
    });
    const alone: RunManifest = { ...erasure.manifest };
    delete alone.before;
    runsOf.set(erasure.model, [...before, alone]);
    return erasure;
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
