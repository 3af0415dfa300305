import { join } from "node:path";
import { invalid } from "../check";
import { contentOf, digest, modelIdentity, optionsIdentity } from "../diffusion/identity";
import { makePictures } from "../diffusion/make-pictures";
import type { PromptKey } from "../diffusion/prompt-key";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { checkModel, pathOf, withModel } from "../diffusion/with-model";
import { traced } from "../diagnostics";
import { throwIfAborted } from "../errors";
import { classifierFor } from "../evaluation/classifier-for";
import type { Rate } from "../evaluation/rates";
import { writeFileAtomically } from "../files/atomic";
import { formatJson } from "../files/json-file";
import { makeFolder } from "../files/make-folder";
import { Image } from "../io/image";
import { complete, fit, type Complete, type OptionSet } from "../options/option";
import { unscoped } from "../runtime/scope";
import type { StepReport } from "../training/step-report";
import { ATTACK_OPTIONS, parseAttackOptions, type ParsedAttackOptions } from "./attack-options";
import { AttackJob } from "./job";
import { measure, type AttackedInput } from "./measure";
import type { AttackInput } from "./input";
import type { AttackMethod } from "./method";
import { attackNamed, type AttackOptions } from "./registry";
import { Target } from "./target";

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
  const own = complete(method.options, options as object as Record<string, unknown>, {
    concepts: [o.concept],
  });
  method.check?.(own);
  checkModel("model", model);
  const { signal, seed } = o.run;
  throwIfAborted(signal);
  return traced(
    "kpop-native:attack",
    () => ({
      operation: "attack" as const,
      model: pathOf(model),
      method: method.name,
      concept: o.concept,
      seed,
    }),
    () =>
      unscoped(() =>
        withModel(model, signal, (attacked) => {
          if (o.original === undefined) return run(method, own, o, attacked, null);
          return withModel(o.original, signal, (original) => run(method, own, o, attacked, original));
        }),
      ),
    ({ before, after, inputs, unetEvaluations }) => ({
      before: before.value,
      after: after.value,
      inputs: inputs.length,
      unetEvaluations,
    }),
  );
}

async function run(
  method: AttackMethod,
  own: Complete<OptionSet>,
  o: ParsedAttackOptions,
  model: StableDiffusion,
  original: StableDiffusion | null,
): Promise<AttackResult> {
  const started = performance.now();
  fit(ATTACK_OPTIONS, o as Complete<typeof ATTACK_OPTIONS>, model);
  fit(method.options, own, model);
  method.fit?.(own, model);
  const { signal } = o.run;
  const { classifier, owned } = await classifierFor(model, o.classifier, { signal });
  const found: AttackInput[] = [];
  const free = (): void => {
    for (const { tokens = [], key, latents, lora } of found.splice(0)) {
      for (const token of tokens) token.dispose();
      key?.dispose();
      latents?.dispose();
      lora?.dispose();
    }
  };
  try {
    const output = classifier.indexOf(o.concept);
    if (o.directory !== undefined) await makeFolder(o.directory);
    // They are no part of the attacker's budget: anyone has pictures.
    const images = o.images ?? (method.needsPictures ? await draw(original!, o) : []);
    const target = new Target(model, classifier, output, o.drawing, signal);
    const { concept, template, prompt } = o;
    const identity = async () =>
      digest({
        model: await modelIdentity(model, signal),
        pictures: await contentOf(await loaded(images)),
        options: await optionsIdentity(method.options, own),
        ...{ method: method.name, concept, prompt, drawing: o.drawing, seed: o.run.seed },
      });
    const succeeds = async (input: AttackInput, seed: number) => (await target.try(input, seed, 1))[0]!.hit;
    const job = new AttackJob(
      { model, concept, template, prompt, images, drawing: o.drawing, succeeds },
      { ...o.run, identity },
    );
    found.push(...(await job.run(() => method.run(job, own))));
    const plain = original === null ? null : new Target(original, classifier, output, o.drawing, signal);
    const measured = await measure(target, plain, found, o);
    const result = {
      method: method.name,
      reference: method.reference,
      concept,
      ...measured,
      unetEvaluations: job.evaluations.total,
      history: job.history,
      seconds: (performance.now() - started) / 1000,
    };
    if (o.directory !== undefined) await writeResult(o.directory, result);
    return { ...result, dispose: free };
  } catch (error) {
    free();
    throw error;
  } finally {
    if (owned) classifier.dispose();
  }
}

/** Paths of the original's pictures of the concept. */
async function draw(original: StableDiffusion, o: ParsedAttackOptions): Promise<string[]> {
  const { prompt, pictures, cacheDirectory, onProgress } = o;
  const { seed, signal } = o.run;
  const { steps: samplingSteps, ...drawing } = o.drawing;
  const items = Array.from({ length: pictures }, (_, i) => ({ prompt, seed: seed + i }));
  const set = await makePictures(
    { base: original, signal, onPrepare: (report) => onProgress?.({ phase: "pictures", ...report }) },
    items,
    { samplingSteps, ...drawing, cacheDirectory },
  );
  return items.map((_, index) => set.path(index));
}

async function loaded(images: readonly (Image | string)[]): Promise<Image[]> {
  const all: Image[] = [];
  for (const image of images) all.push(image instanceof Image ? image : await Image.load(image));
  return all;
}

async function writeResult(directory: string, result: Omit<AttackResult, "dispose">): Promise<void> {
  const inputs = result.inputs.map(({ tokens, key, latents, lora, ...rest }) => ({
    ...rest,
    ...(tokens === undefined ? {} : { tokens: tokens.map(({ token }) => token) }),
    ...(key === undefined ? {} : shownOf(key)),
    ...(latents === undefined ? {} : { latents: latents.shape }),
    ...(lora === undefined ? {} : { rank: lora.rank }),
  }));
  await writeFileAtomically(join(directory, "attack.json"), formatJson({ ...result, inputs }));
}

function shownOf({ form, place, mechanism, layers }: PromptKey) {
  return place === "token" ? { form, place } : { form, place, mechanism, layers };
}
