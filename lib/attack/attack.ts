import { createHash } from "node:crypto";
import { join } from "node:path";
import { invalid, tell } from "../check";
import { makePictures } from "../diffusion/make-pictures";
import { hashChanges, hashInputs } from "../diffusion/model-hash";
import { StableDiffusion } from "../diffusion/stable-diffusion";
import { throwIfAborted } from "../errors";
import { classifierFor } from "../evaluation/classifier-for";
import type { Rate } from "../evaluation/rates";
import { writeFileAtomically } from "../files/atomic";
import { formatJson } from "../files/json-file";
import { Image } from "../io/image";
import { unscoped } from "../runtime/scope";
import { Random } from "../runtime/random";
import { EvaluationCounter } from "../training/evaluations";
import type { StepReport } from "../training/step-report";
import { parseAttackOptions, type CommonAttackOptions, type ParsedAttackOptions } from "./attack-options";
import { openDirectory } from "./attack-files";
import { measure, type AttackedInput } from "./measure";
import type { AttackContext, AttackInput } from "./method";
import type { ConceptInversionOptions } from "./methods/concept-inversion";
import type { DiverseInversionOptions } from "./methods/diverse-inversion";
import type { KeySearchOptions } from "./methods/key-search";
import type { RingABellOptions } from "./methods/ring-a-bell";
import type { UnlearnDiffOptions } from "./methods/unlearn-diff";
import { attackNamed } from "./registry";
import { Target } from "./target";

/** Options of `attack`: an attack's own beside those that every attack takes. */
export type AttackOptions = CommonAttackOptions &
  (
    | ConceptInversionOptions
    | DiverseInversionOptions
    | KeySearchOptions
    | RingABellOptions
    | UnlearnDiffOptions
  );

/** What an attack has shown. */
export interface AttackResult {
  method: string;
  reference: string;
  concept: string;
  /** Attack success rate without an attack: share of pictures of the concept's name that show it. */
  before: Rate;
  /** Attack success rate: share of the pictures of all inputs found. */
  after: Rate;
  /** The same as `before` of the original model, where it was given. */
  original?: Rate;
  inputs: AttackedInput[];
  /** UNet evaluations of the search: what the attack costs. One for each item of a batch, forward passes only. */
  unetEvaluations: number;
  /** Those of the pictures that were measured. */
  measuringEvaluations: number;
  history: StepReport[];
  seconds: number;
  /** Frees the tensors of the inputs. Idempotent. */
  dispose(): void;
}

/**
 * Attacks an erasure: looks for inputs that bring the erased concept back, and measures how often they do.
 *
 * An input counts by the share of its pictures that a classifier takes for the concept before any other class, with
 * Wilson's 95 % interval, beside that of the concept's plain name on the same seeds.
 * @param model the erased model, loaded, or what `StableDiffusion.load` takes; it is left as it was
 * @throws INVALID_ARGUMENT (no pictures and no original; a class that the classifier does not know), NUMERIC_FAILURE,
 *   OUT_OF_MEMORY, NO_SPACE, IO_ERROR, ABORTED, and for paths what loading them throws
 */
export async function attack(model: StableDiffusion | string, options: AttackOptions): Promise<AttackResult> {
  if (typeof options !== "object" || options === null) throw invalid("options", "an object", options);
  const method = attackNamed(options.method ?? "concept-inversion");
  const o = parseAttackOptions(options, method);
  const { signal } = o.job;
  throwIfAborted(signal);
  const started = performance.now();
  return unscoped(async () => {
    const owned: { dispose(): void }[] = [];
    const found: AttackInput[] = [];
    const free = (): void => {
      for (const { tokens = [], key } of found.splice(0)) {
        for (const token of tokens) token.dispose();
        key?.dispose();
      }
    };
    try {
      const loaded = await open("model", model, signal, owned);
      const original = o.original === undefined ? null : await open("original", o.original, signal, owned);
      const given = Object.fromEntries(
        Object.entries(options).filter(([key, value]) => key in method.defaults && value !== undefined),
      );
      const own = method.parse(given, loaded);
      const { classifier, owned: ours } = await classifierFor(loaded, o.classifier, { signal });
      if (ours) owned.push(classifier);
      const output = classifier.indexOf(o.concept);
      if (o.directory !== undefined) await openDirectory(o.directory);

      const evaluations = new EvaluationCounter();
      const images = o.images ?? (method.needsPictures ? await draw(original!, o) : []);
      const target = new Target(loaded, classifier, output, o.drawing, signal);
      const history: StepReport[] = [];
      const context: AttackContext = {
        model: loaded,
        concept: o.concept,
        template: o.template,
        prompt: o.prompt,
        images,
        random: new Random(o.job.seed),
        job: o.job,
        identity: () => identityOf(loaded, o, images),
        evaluations,
        succeeds: async (input, seed) => (await target.try(input, seed, 1, evaluations))[0]!.hit,
        report(step) {
          history.push(step);
          return tell(o.job.onStep, step);
        },
      };
      found.push(...(await method.run(context, own)));
      const plain = original === null ? null : new Target(original, classifier, output, o.drawing, signal);
      const measured = await measure(target, plain, found, o);
      const result = {
        method: method.name,
        reference: method.reference,
        concept: o.concept,
        ...measured,
        unetEvaluations: evaluations.total,
        history,
        seconds: (performance.now() - started) / 1000,
      };
      if (o.directory !== undefined) await writeResult(o.directory, result);
      return { ...result, dispose: free };
    } catch (error) {
      free();
      throw error;
    } finally {
      for (const item of owned.reverse()) item.dispose();
    }
  });
}

async function open(
  name: string,
  given: StableDiffusion | string,
  signal: AbortSignal | undefined,
  owned: { dispose(): void }[],
): Promise<StableDiffusion> {
  if (given instanceof StableDiffusion) return given;
  if (typeof given !== "string") throw invalid(name, "a StableDiffusion or a path", given);
  const model = await StableDiffusion.load(given, signal === undefined ? {} : { signal });
  owned.push(model);
  return model;
}

/** Paths of the original's pictures of the concept. */
async function draw(original: StableDiffusion, o: ParsedAttackOptions): Promise<string[]> {
  const { job, prompt, pictures, cacheDirectory, onProgress } = o;
  const { steps: samplingSteps, ...drawing } = o.drawing;
  const items = Array.from({ length: pictures }, (_, i) => ({ prompt, seed: job.seed + i }));
  const set = await makePictures(
    {
      base: original,
      // They are no part of the attacker's budget: anyone has pictures.
      evaluations: new EvaluationCounter(),
      signal: job.signal,
      onPrepare: (report) => onProgress?.({ phase: "pictures", ...report }),
    },
    items,
    { samplingSteps, ...drawing, cacheDirectory },
  );
  return items.map((_, index) => set.path(index));
}

async function identityOf(
  model: StableDiffusion,
  o: ParsedAttackOptions,
  images: readonly (Image | string)[],
): Promise<object> {
  const pictures = createHash("sha256");
  for (const image of images)
    pictures.update((image instanceof Image ? image : await Image.load(image)).data);
  return {
    inputs: await hashInputs(model, o.job.signal),
    changes: await hashChanges(model),
    pictures: pictures.digest("hex"),
    ...{ device: model.device, dtype: model.dtype, seed: o.job.seed },
    ...{ concept: o.concept, prompt: o.prompt, drawing: o.drawing },
  };
}

async function writeResult(directory: string, result: Omit<AttackResult, "dispose">): Promise<void> {
  const inputs = result.inputs.map(({ tokens, key, ...rest }) => ({
    ...rest,
    ...(tokens === undefined ? {} : { tokens: tokens.map(({ token }) => token) }),
    ...(key === undefined ? {} : { layers: key.layers, mechanism: key.mechanism }),
  }));
  await writeFileAtomically(join(directory, "attack.json"), formatJson({ ...result, inputs }));
}
