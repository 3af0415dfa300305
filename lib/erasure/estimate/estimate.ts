import { freeIntervention } from "../../diffusion/interventions/intervention";
import { hashInputs } from "../../diffusion/model-hash";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import { checkModel, withModel } from "../../diffusion/with-model";
import { throwIfAborted } from "../../errors";
import { unscoped } from "../../runtime/scope";
import { chosenWeights, openParts } from "../open-parts";
import type { EraseOptions } from "../registry";
import { fitRequest, parseRequest, type Request } from "../request";
import { nearestWords } from "../shared/neighbours";
import type { RunPart } from "./ledger";
import { memoryOf, type MemoryParts } from "./memory";
import { ITERATED, Rehearsal } from "./rehearsal";

/** What a run would need, as it is known before. */
export interface Estimate {
  method: string;
  device: string;
  dtype: string;
  /** Keys of the weights that may change. */
  changedParameters: number;
  memory: {
    /** Where most is needed: of the process on a CPU, of the device on a GPU. */
    peakBytes: number;
    /** What the machine has for it; null where that is not known. */
    availableBytes: number | null;
    parts: MemoryParts;
  };
  /** What was timed on this machine, a few iterations for all; null where the memory does not suffice. */
  time: EstimatedTime | null;
  /** Options whose cost nobody knows before, and which are not in it. */
  leftOut: string[];
}

/** Seconds and evaluations of a run. */
export interface EstimatedTime {
  /** Of the whole, from the loaded model to the result, saving left out. */
  seconds: number;
  /** Of one iteration, or of one layer of a closed form, with its share of the trajectories' steps. */
  secondsPerIteration: number;
  /** Iterations, or layers of a closed form, as the manifest counts them. */
  iterations: number;
  /** As the manifest counts them: one for each item of a batch. */
  unetEvaluations: number;
  /** What is done many times. The rest of `seconds` is done once. */
  parts: RunPart[];
}

/**
 * Says what an erasure would need, before anything is trained: memory from the shapes of what the run makes, time from a
 * few iterations on a copy of the weights, which is thrown away, and evaluations from the draws that the run would make. It
 * writes nothing, and makes no pictures; those that are kept from earlier runs are not counted. What `erase` refuses it
 * refuses. It is the whole run that is estimated, also where a saved state would be gone on from.
 * @param model a loaded model, or what `StableDiffusion.load` takes
 * @throws what `erase` throws
 */
export async function estimate(model: StableDiffusion | string, options: EraseOptions): Promise<Estimate> {
  const request = parseRequest(options);
  checkModel("model", model);
  const { signal } = request.run;
  throwIfAborted(signal);
  return unscoped(() => withModel(model, signal, (base) => look(base, request)));
}

async function look(base: StableDiffusion, request: Request): Promise<Estimate> {
  fitRequest(request, base);
  const chosen = chosenWeights(request, base);
  const { method, concepts } = request;
  const resident = process.memoryUsage.rss();
  const parts = memoryOf(base, request, chosen, resident);
  const all = Object.values<number>({ ...parts }).reduce((sum, bytes) => sum + bytes, 0);
  const onCpu = base.device === "cpu";
  const peakBytes = onCpu ? all : all - parts.process;
  const availableBytes = onCpu ? resident + process.availableMemory() : null;
  const replaced: Readonly<Record<string, unknown>> = method.unforeseen?.(request.own, { concepts }) ?? {};
  const fits = availableBytes === null || peakBytes <= availableBytes;
  return {
    ...{ method: method.name, device: base.device, dtype: base.dtype },
    changedParameters: chosen.trained.length,
    memory: { peakBytes, availableBytes, parts },
    time: fits ? await timed(base, { ...request, own: { ...request.own, ...replaced } }) : null,
    leftOut: [...Object.keys(replaced), ...(isIterable(request.own["latents"]) ? ["latents"] : [])],
  };
}

function isIterable(value: unknown): boolean {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value;
}

async function timed(base: StableDiffusion, request: Request): Promise<EstimatedTime> {
  const { concepts, method, own, run } = request;
  const { signal } = run;
  const started = performance.now();
  await hashInputs(base, signal);
  const neighbours =
    request.neighbours.choose === "off"
      ? []
      : await nearestWords(base, concepts, request.neighbours, { signal, keeps: false });
  const parts = await openParts(base, request, chosenWeights(request, base), neighbours);
  const turns = method.turns?.(own, { concepts }) ?? [];
  const before = (performance.now() - started) / 1000;
  const rehearsal = new Rehearsal(parts, run, turns);
  try {
    const found = await rehearsal.rehearse(() => method.run(rehearsal, own));
    const repeated = found.parts.filter(({ what }) => ITERATED.includes(what));
    const seconds = repeated.reduce((sum, part) => sum + part.seconds, 0);
    return {
      seconds: before + found.seconds,
      secondsPerIteration: found.iterations === 0 ? 0 : seconds / found.iterations,
      iterations: found.iterations,
      unetEvaluations: found.evaluations,
      parts: found.parts,
    };
  } finally {
    for (const artefact of rehearsal.artefacts) artefact.dispose();
    for (const intervention of rehearsal.interventions) freeIntervention(intervention);
    parts.lora?.dispose();
    parts.result.dispose();
    parts.teacher.dispose();
  }
}
