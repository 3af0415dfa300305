import { join } from "node:path";
import { invalid } from "../check";
import { makePictures } from "../diffusion/make-pictures";
import type { PromptKey } from "../diffusion/prompt-key";
import { modelIdentity } from "../diffusion/identity";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { checkModel, pathOf, withModel } from "../diffusion/with-model";
import { traced } from "../diagnostics";
import { throwIfAborted } from "../errors";
import type { Classifier } from "../evaluation/classifier";
import { classifierFor } from "../evaluation/classifier-for";
import { judgeOf } from "../evaluation/judge";
import type { Rate } from "../evaluation/rates";
import { writeFileAtomically } from "../files/atomic";
import { joinRun } from "../files/join-run";
import { formatJson } from "../files/json-file";
import { makeFolder } from "../files/make-folder";
import { complete, fit, type Complete, type OptionSet } from "../options/option";
import type { Shard } from "../options/shard";
import { unscoped } from "../runtime/scope";
import type { StepReport } from "../training/step-report";
import { originalIdentity, searchIdentity, shardsIdentity } from "./attack-identity";
import { ATTACK_OPTIONS, parseAttackOptions } from "./attack-options";
import type { AttackPart, ParsedAttackOptions } from "./attack-options";
import { measure, type AttackedInput, type AttackedPicture } from "./measure";
import type { AttackInput } from "./input";
import { MeasuredInputs } from "./measured-inputs";
import type { AttackMethod } from "./method";
import { attackNamed, type AttackOptions } from "./registry";
import { remembered, search, type Searched } from "./search";
import { Target } from "./target";

/** Name of the result in the folder that an attack fills. */
export const ATTACK_FILE = "attack.json";

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
  /** The pictures of the attacked model that were measured: those of the plain name, and of every input. */
  pictures: AttackedPicture[];
  /** UNet evaluations of the search: what the attack costs. One for each item of a batch, forward passes only. */
  unetEvaluations: number;
  /** Those of the pictures that were measured. */
  measuringEvaluations: number;
  history: StepReport[];
  seconds: number;
  /** Frees the tensors of the inputs. Idempotent. */
  dispose(): void;
}

/** What a shard of an attack has done: its targets are searched and measured. */
export interface AttackShard {
  shard: Shard;
  method: string;
  concept: string;
  /** Inputs that it has found. */
  found: number;
  unetEvaluations: number;
  seconds: number;
}

/** Where shards of an attack find each other, in the folder of its state. */
const SHARDS_FILE = "shards.json";

/**
 * Attacks an erasure: looks for inputs that bring the erased concept back, and measures how often they do.
 *
 * An input counts by the share of its pictures that a classifier takes for the concept before any other class, with
 * Wilson's 95 % interval, beside that of the concept's plain name on the same seeds.
 *
 * Several processes attack together, each a `shard` of the targets: the call with `resume` and without a shard finds what
 * they have, and gives the result.
 * @param model the erased model, loaded, or what `StableDiffusion.load` takes; it is left as it was
 * @throws INVALID_ARGUMENT (no pictures and no original; a class that the classifier does not know), NUMERIC_FAILURE,
 *   OUT_OF_MEMORY, NO_SPACE, IO_ERROR, ABORTED, and for paths what loading them throws
 */
export async function attack(
  model: StableDiffusion | string,
  options: AttackOptions & AttackPart,
): Promise<AttackShard>;
export async function attack(
  model: StableDiffusion | string,
  options: AttackOptions & { shard: Shard | undefined },
): Promise<AttackResult | AttackShard>;
export async function attack(
  model: StableDiffusion | string,
  options: AttackOptions & { shard?: undefined },
): Promise<AttackResult>;
export async function attack(
  model: StableDiffusion | string,
  options: AttackOptions & { shard?: Shard | undefined },
): Promise<AttackResult | AttackShard> {
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
    (found) => {
      if ("shard" in found) return undefined;
      const { before, after, inputs, unetEvaluations } = found;
      return { before: before.value, after: after.value, inputs: inputs.length, unetEvaluations };
    },
  );
}

async function run(
  method: AttackMethod,
  own: Complete<OptionSet>,
  o: ParsedAttackOptions,
  model: StableDiffusion,
  original: StableDiffusion | null,
): Promise<AttackResult | AttackShard> {
  const started = performance.now();
  for (const each of [model, original]) each?.unet.throwIfDisposed();
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
    const subject = { method, own, o, model, original };
    const { directory: state } = o.run.checkpoint ?? {};
    if (o.shard !== undefined) await makeFolder(state!);
    const part = o.shard !== undefined;
    const endRun =
      state === undefined
        ? null
        : await joinRun(join(state, SHARDS_FILE), () => shardsIdentity(subject), { part });
    const resume = o.run.resume || part || endRun !== null;
    // They are no part of the attacker's budget: anyone has pictures.
    const images = o.images ?? (method.needsPictures ? await draw(original!, o) : []);
    const target = new Target(model, classifier, output, o.drawing, signal);
    const { concept, template, prompt } = o;
    const identity = remembered(() => searchIdentity(subject, images));
    const succeeds = async (input: AttackInput, seed: number) => (await target.try(input, seed, 1))[0]!.hit;
    const searched = await search(
      method,
      own,
      { model, concept, template, prompt, images, drawing: o.drawing, succeeds },
      {
        run: { ...o.run, resume },
        shard: o.shard,
        identity,
        onFound: (inputs) => void found.push(...inputs),
      },
    );
    const plain = original === null ? null : new Target(original, classifier, output, o.drawing, signal);
    const kept = await keptOf(classifier, o, resume, async () => [
      await identity(),
      await originalIdentity(subject),
    ]);
    if (o.shard !== undefined) {
      if (found.length > 0) await measure(target, plain, found, o, kept);
      const { unetEvaluations } = searched;
      const done = { shard: o.shard, method: method.name, concept, found: found.length, unetEvaluations };
      free();
      return { ...done, seconds: (performance.now() - started) / 1000 };
    }
    const measured = await measure(target, plain, found, o, kept);
    const result = {
      method: method.name,
      reference: method.reference,
      concept,
      ...measured,
      ...searched,
      seconds: (performance.now() - started) / 1000,
    };
    if (o.directory !== undefined) await writeResult(o, model, result);
    await endRun?.();
    return { ...result, dispose: free };
  } catch (error) {
    free();
    throw error;
  } finally {
    if (owned) classifier.dispose();
  }
}

/** What was measured already; null where no state is kept, or nothing tells what the classifier is. */
async function keptOf(
  classifier: Classifier,
  { run: { checkpoint, signal }, directory }: ParsedAttackOptions,
  resume: boolean,
  identity: () => Promise<unknown[]>,
): Promise<MeasuredInputs | null> {
  if (checkpoint === undefined) return null;
  const judge = await judgeOf(classifier, signal);
  if (judge.sha256 === null) return null;
  return new MeasuredInputs(checkpoint.directory, [...(await identity()), judge], {
    resume,
    pictures: directory,
  });
}

/** Paths of the original's pictures of the concept. */
async function draw(original: StableDiffusion, o: ParsedAttackOptions): Promise<string[]> {
  const { prompt, pictures, cacheDirectory, onProgress } = o;
  const { seed, signal } = o.run;
  const { steps: samplingSteps, ...drawing } = o.drawing;
  const items = Array.from({ length: pictures }, (_, i) => ({ prompt, seed: seed + i }));
  const make = (shard?: Shard) =>
    makePictures(
      { base: original, signal, onPrepare: (report) => onProgress?.({ phase: "pictures", ...report }) },
      items,
      { samplingSteps, ...drawing, cacheDirectory, shard },
    );
  // Every search needs all of them: by the time that a shard has its part, others have most of the rest.
  if (o.shard !== undefined) await make(o.shard);
  const set = await make();
  return items.map((_, index) => set.path(index));
}

/** Writes attack.json: the result, whose it is, and how its pictures were drawn. */
async function writeResult(
  { directory, command, prompt, drawing, run: { seed, signal } }: ParsedAttackOptions,
  model: StableDiffusion,
  result: Omit<AttackResult, "dispose"> & Searched,
): Promise<void> {
  const { weights, changes, interventions } = await modelIdentity(model, signal);
  const inputs = result.inputs.map(({ tokens, key, latents, lora, ...rest }) => ({
    ...rest,
    ...(tokens === undefined ? {} : { tokens: tokens.map(({ token }) => token) }),
    ...(key === undefined ? {} : shownOf(key)),
    ...(latents === undefined ? {} : { latents: latents.shape }),
    ...(lora === undefined ? {} : { rank: lora.rank }),
  }));
  const about = { command, model: { weights, changes, interventions }, prompt, seed, drawing };
  await writeFileAtomically(join(directory!, ATTACK_FILE), formatJson({ ...result, inputs, ...about }));
}

function shownOf({ form, place, mechanism, layers }: PromptKey) {
  return place === "token" ? { form, place } : { form, place, mechanism, layers };
}
