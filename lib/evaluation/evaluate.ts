import { dirname, join, resolve } from "node:path";
import { invalid, knownKeys, nonEmptyString, tell } from "../check";
import { traced } from "../diagnostics";
import type { PromptKey } from "../diffusion/prompt-key";
import { StableDiffusion } from "../diffusion/stable-diffusion";
import { checkModel, pathOf, withModel } from "../diffusion/with-model";
import { throwIfAborted } from "../errors";
import { writeFileAtomically } from "../files/atomic";
import { joinRun } from "../files/join-run";
import { formatJson } from "../files/json-file";
import { makeFolder } from "../files/make-folder";
import { checkOutputFile } from "../io/check-output";
import type { Shard } from "../options/shard";
import { cacheFolder } from "../runtime/cache-directory";
import { compareModels, type ModelDifference, type ModelEvaluation } from "./compare-models";
import { drawShots, type DrawnShots } from "./draw-shots";
import { parseEvaluateOptions, type ParsedOptions } from "./evaluate-options";
import type { EvaluateOptions, EvaluateShardOptions } from "./evaluate-options";
import { ofAllModels, picturesIdentity, shardsFile, type EvaluationShard } from "./evaluation-shard";
import type { Evaluation } from "./evaluation";
import { judgesOf, openJudges, type Judges } from "./judges";
import { look } from "./look";
import type { Rate } from "./rates";
import { planShots } from "./shots";
import { summarize } from "./summarize";

/** One of several models to evaluate. */
export interface ComparedModel {
  /** What the result calls it. Default: its path, or its place. */
  name?: string;
  /** A loaded model, what `StableDiffusion.load` takes, or what loads it when its turn comes; it is then disposed of. */
  model: StableDiffusion | string | (() => Promise<StableDiffusion>);
  /** A key that it alone is drawn with. */
  key?: PromptKey;
}

/** What `evaluate` measured of several models. */
export interface Comparison {
  /** Of each model, in their order; picture i of each is of the same prompt and seed. */
  models: ModelEvaluation[];
  /** Each later model against the first, picture by picture. */
  differences: ModelDifference[];
  seconds: number;
  /** The command that it is the work of, where that was given. */
  command?: string;
}

/**
 * Measures what a model no longer draws, and what it still draws: pictures of every class are given to a classifier
 * (ESR-k and PSR-k of KPOP's Table 2; 95 % intervals by Wilson's score) and, if there is one, to a CLIP (Table 4).
 *
 * The pictures are of classes, or of the rows of a prompt file. They are kept in `cacheDirectory` and never made twice, so
 * an interrupted evaluation goes on where it stopped, and several processes make the pictures together, each its `shard` of
 * them: the call without a shard finds them and measures.
 * @param model a loaded model, or what `StableDiffusion.load` takes
 * @throws INVALID_ARGUMENT (a class that the classifier does not know, too), ABORTED, OUT_OF_MEMORY, NO_SPACE, IO_ERROR, and
 *   for paths what loading them throws
 */
export async function evaluate(
  model: StableDiffusion | string,
  options: EvaluateShardOptions,
): Promise<EvaluationShard>;
export async function evaluate(
  model: StableDiffusion | string,
  options: EvaluateOptions & { shard: Shard | undefined },
): Promise<Evaluation | EvaluationShard>;
export async function evaluate(
  model: StableDiffusion | string,
  options: EvaluateOptions & { shard?: undefined },
): Promise<Evaluation>;
/**
 * Measures several models on the same prompts and seeds, one after the other, and compares each with the first picture by
 * picture: paired differences with 95 % intervals (Newcombe's for rates) and McNemar's exact test. A shard makes its part
 * of the pictures of each.
 */
export async function evaluate(
  models: readonly (StableDiffusion | string | ComparedModel)[],
  options: EvaluateShardOptions,
): Promise<EvaluationShard>;
export async function evaluate(
  models: readonly (StableDiffusion | string | ComparedModel)[],
  options: EvaluateOptions & { shard: Shard | undefined },
): Promise<Comparison | EvaluationShard>;
export async function evaluate(
  models: readonly (StableDiffusion | string | ComparedModel)[],
  options: EvaluateOptions & { shard?: undefined },
): Promise<Comparison>;
export async function evaluate(
  given: StableDiffusion | string | readonly (StableDiffusion | string | ComparedModel)[],
  options: EvaluateOptions & { shard?: Shard | undefined },
): Promise<Evaluation | EvaluationShard | Comparison> {
  const o = parseEvaluateOptions(options);
  throwIfAborted(o.signal);
  const started = performance.now();
  const several = Array.isArray(given) ? checkModels(given) : null;
  if (several === null) checkModel("model", given);
  if (o.resultFile !== undefined) await checkResultFile(o.resultFile);
  const run: Run = { models: several ?? [{ model: given as StableDiffusion | string }], ends: [] };
  const found = await evaluateEach(run, o);
  const seconds = (performance.now() - started) / 1000;
  if (o.shard !== undefined) return ofAllModels(found as EvaluationShard[], picturesFolder(o), seconds);
  const models = found as Evaluation[];
  const ran = o.command === undefined ? {} : { command: o.command };
  const measured = several === null ? models[0]! : compared(models, several, seconds);
  const result = { ...measured, ...ran };
  if (o.resultFile !== undefined) await writeFileAtomically(o.resultFile, formatJson(result));
  for (const end of run.ends) await end();
  return result;
}

/** What is evaluated in one call. */
interface Run {
  readonly models: readonly ComparedModel[];
  /** Take away what shards left of themselves. */
  readonly ends: (() => Promise<void>)[];
}

async function evaluateEach(run: Run, o: ParsedOptions): Promise<(Evaluation | EvaluationShard)[]> {
  const { models } = run;
  const made: { dispose(): void }[] = [];
  const own = <T extends { dispose(): void }>(item: T): T => {
    made.push(item);
    return item;
  };
  try {
    const plan = await planShots(o);
    const found: (Evaluation | EvaluationShard)[] = [];
    let judges: Judges | undefined;
    let first: DrawnShots | null = null;
    const measure = async (
      { model, name, key = o.key }: ComparedModel,
      place: number,
    ): Promise<Evaluation | EvaluationShard> => {
      const started = performance.now();
      const told = models.length === 1 ? o : { ...o, onProgress: naming(name!, o.onProgress) };
      const drawn = await withBase(model, o, async (base) => {
        judges ??= await openJudges(plan, o, base, models.length, own);
        if (o.resultFile !== undefined) {
          const identity = () => picturesIdentity(base, o, plan, key);
          const end = await joinRun(shardsFile(o.resultFile, place), identity, {
            part: o.shard !== undefined,
          });
          if (end !== null) run.ends.push(end);
        }
        return await draw(base, plan.shots, told, key);
      });
      const seconds = (): number => (performance.now() - started) / 1000;
      const { length: images, generated, directory } = drawn;
      if (o.shard !== undefined) return { shard: o.shard, images, generated, directory, seconds: seconds() };
      const pictures = await look(drawn, plan.classes, judges!, first, told);
      const metrics = await judges!.metrics.results();
      first ??= drawn;
      return {
        ...summarize(plan.classes, pictures, judges!.topK),
        ...(await judgesOf(judges!, o.signal)),
        ...(metrics === null ? {} : { metrics }),
        pictures,
        images,
        generated,
        directory,
        seconds: seconds(),
      };
    };
    for (const [place, one] of models.entries())
      found.push(
        await traced(
          "kpop-native:evaluate",
          () => ({
            model: typeof one.model === "function" ? one.name! : pathOf(one.model),
            erased: [...o.erased],
            preserved: [...o.preserved],
          }),
          () => measure(one, place),
          (done) => {
            if ("shard" in done) return undefined;
            const { images, generated, esr, psr } = done;
            return { images, generated, esr: values(esr), psr: values(psr) };
          },
        ),
      );
    return found;
  } finally {
    for (const item of made.reverse()) item.dispose();
  }
}

function values(rates: Readonly<Record<number, Rate>>): Record<number, number> {
  return Object.fromEntries(Object.entries(rates).map(([k, { value }]) => [k, value]));
}

/** A model for as long as it draws: one that is loaded here is disposed of. */
async function withBase<T>(
  model: ComparedModel["model"],
  o: ParsedOptions,
  work: (base: StableDiffusion) => Promise<T>,
): Promise<T> {
  if (typeof model !== "function") return await withModel(model, o.signal, work);
  const base = await model();
  try {
    return await work(base);
  } finally {
    base.dispose();
  }
}

/** Names for all, each once. @throws INVALID_ARGUMENT */
function checkModels(given: readonly (StableDiffusion | string | ComparedModel)[]): ComparedModel[] {
  if (given.length === 0) throw invalid("models", "a non-empty list of models", given);
  const models = given.map((one, i) => {
    const own = typeof one === "string" || one instanceof StableDiffusion ? { model: one } : one;
    knownKeys("a compared model", own, ["name", "model", "key"]);
    if (typeof own.model !== "function") checkModel("model", own.model);
    const fallback = typeof own.model === "string" ? own.model : `model ${i + 1}`;
    return { ...own, name: own.name === undefined ? fallback : nonEmptyString("name", own.name) };
  });
  const names = models.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw invalid("the names of models", "free of repetitions", twice);
  return models;
}

function compared(
  found: readonly Evaluation[],
  models: readonly ComparedModel[],
  seconds: number,
): Comparison {
  const named = found.map((evaluation, i) => ({ name: models[i]!.name!, ...evaluation }));
  return { models: named, differences: compareModels(named), seconds };
}

function naming(model: string, listener: ParsedOptions["onProgress"]): ParsedOptions["onProgress"] {
  return listener && ((progress) => listener({ model, ...progress }));
}

function job({ signal }: ParsedOptions): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

/** Finds out before the work whether the result can be written. */
async function checkResultFile(path: string): Promise<void> {
  const folder = dirname(resolve(path));
  await makeFolder(folder);
  await checkOutputFile(path, { force: true });
}

function picturesFolder({ cacheDirectory }: ParsedOptions): string {
  return cacheDirectory ?? join(cacheFolder(), "images");
}

async function draw(
  base: StableDiffusion,
  shots: DrawnShots["shots"],
  o: ParsedOptions,
  key: PromptKey | undefined,
): Promise<DrawnShots> {
  const { onProgress } = o;
  let estimated = false;
  return drawShots(base, shots, {
    ...o.generation,
    ...(key === undefined ? {} : { key }),
    ...(o.shard === undefined ? {} : { shard: o.shard }),
    directory: picturesFolder(o),
    ...job(o),
    // eslint-disable-next-line @typescript-eslint/no-misused-promises -- generateImageSet waits for its listener
    async onProgress(progress) {
      const first = !estimated;
      estimated = true;
      if (first) await tell(onProgress, { phase: "estimate", ...progress });
      await tell(onProgress, { phase: "images", ...progress });
    },
  });
}
