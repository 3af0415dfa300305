import { invalid, knownKeys } from "../check";
import { contentOf, digest, modelIdentity } from "../diffusion/identity";
import { hashInputs } from "../diffusion/model-hash";
import { encodePictures } from "../diffusion/picture-latents";
import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { textTowers } from "../diffusion/text-encoders";
import { checkModel, pathOf, withModel } from "../diffusion/with-model";
import { traced } from "../diagnostics";
import { throwIfAborted } from "../errors";
import { complete, fit, type Complete, type OptionSet } from "../options/option";
import type { Random } from "../runtime/random";
import { unscoped } from "../runtime/scope";
import type { Tensor } from "../runtime/tensor";
import { Job } from "../training/job";
import { parseRunOptions, RUN_OPTIONS } from "../training/run-options";
import type { StepReport } from "../training/step-report";
import { EmbeddingTraining, type EmbeddingConstraint } from "./embedding-training";
import type { InversionRecord } from "./inversion";
import { conceptImages, inversion, type InversionOptions } from "./inversion-options";

/** What is to be learned on a model. */
export interface EmbeddingTask {
  /** Where it starts, (N, n, d) float32 on the model's device. */
  readonly start: Tensor;
  readonly constraint: EmbeddingConstraint | null;
}

/** Embeddings as they are at the end. */
export interface LearnedEmbeddings {
  /** (n, d) float32 on the CPU, for each member. */
  readonly members: readonly Tensor[];
  readonly history: readonly StepReport[];
  readonly record: InversionRecord;
  readonly token: string;
  /** See `Inversion.widths`. */
  readonly widths: readonly number[] | null;
}

/** The options of every inversion, and what they are with a caller's own. */
type WithOwn<S extends OptionSet> = Complete<S> & Complete<ReturnType<typeof inversion>>;

/**
 * Runs textual inversion from the options to the embeddings.
 * @param caller whose options they are, for messages
 * @param own the caller's own options
 * @param plan says what is to be learned
 */
export async function learnEmbeddings<S extends OptionSet>(
  given: StableDiffusion | string,
  options: InversionOptions,
  caller: string,
  own: S,
  plan: (model: StableDiffusion, options: WithOwn<S>, random: Random) => Promise<EmbeddingTask>,
): Promise<LearnedEmbeddings> {
  const set = { ...inversion(), ...own, images: conceptImages() };
  knownKeys(`the options of ${caller}`, options, [...Object.keys(set), ...RUN_OPTIONS]);
  const settings = parseRunOptions(options);
  if (options.images === undefined) throw invalid("images", "a non-empty list of pictures", options.images);
  const o = complete(set as OptionSet, { ...options }, { concepts: [] }) as WithOwn<S>;
  const { signal, seed } = settings;
  checkModel("model", given);
  throwIfAborted(signal);
  const learn = async (model: StableDiffusion): Promise<LearnedEmbeddings> => {
    fit(set as OptionSet, o, model);
    let latents: Tensor | undefined;
    const identity = async () =>
      digest({
        model: await modelIdentity(model, signal),
        pictures: await contentOf(latents),
        options: await contentOf({ ...o, images: options.images.length }),
        seed,
      });
    const job = new Job({ ...settings, device: model.device, dtype: model.dtype, identity });
    return job.run(async () => {
      const { start, constraint } = await plan(model, o, job.random);
      const encoded = await encodePictures(model, options.images, { mirrored: o.mirror, signal });
      ({ latents } = encoded);
      const training = await EmbeddingTraining.create(job, model, o, latents, start, constraint);
      await job.iterate(o.iterations, (iteration) => training.step(iteration));
      const record: InversionRecord = {
        inputs: await hashInputs(model, signal),
        images: options.images.length,
        resized: [...encoded.resized],
        iterations: o.iterations,
        seed,
        unetEvaluations: job.evaluations.total,
      };
      const members = await readMembers(training.embeddings);
      const towers = textTowers(model).map(({ encoder }) => encoder.config.hidden_size);
      const widths = towers.length === 1 ? null : towers;
      return { members, history: job.history, record, token: o.token, widths };
    });
  };
  return traced(
    "kpop-native:invert",
    () => ({
      operation: "invert" as const,
      model: pathOf(given),
      pictures: options.images.length,
      seed,
    }),
    () => unscoped(() => withModel(given, signal, learn)),
    ({ record: { unetEvaluations } }) => ({ unetEvaluations }),
  );
}

/** (N, n, d) to copies (n, d) on the CPU. */
async function readMembers(embeddings: Tensor): Promise<Tensor[]> {
  const count = embeddings.shape[0]!;
  const members = Array.from({ length: count }, (_, member) =>
    embeddings
      .detach()
      .slice(0, member, member + 1)
      .squeeze(0)
      .to({ device: "cpu" })
      .clone(),
  );
  for (const member of members) await member.settled();
  return members;
}
