import { invalid, tell } from "../check";
import { digest } from "../diffusion/image-set-identity";
import { StableDiffusion } from "../diffusion/stable-diffusion";
import { throwIfAborted } from "../errors";
import { Random } from "../runtime/random";
import { unscoped } from "../runtime/scope";
import type { Tensor } from "../runtime/tensor";
import { EvaluationCounter } from "../training/evaluations";
import { parseRunOptions } from "../training/run-options";
import { RunState } from "../training/run-state";
import type { StepReport } from "../training/step-report";
import { trainingLoop } from "../training/training-loop";
import { EmbeddingTraining, inversionMaterial, type EmbeddingConstraint } from "./embedding-training";
import type { InversionRecord } from "./inversion";
import {
  parseInversionOptions,
  type InversionOptions,
  type ParsedInversionOptions,
} from "./inversion-options";

/** What is to be learned on a model. */
export interface EmbeddingTask {
  /** Where it starts, (N, n, d) float32 on the model's device. */
  readonly start: Tensor;
  readonly constraint: (EmbeddingConstraint & { dispose(): void }) | null;
  /** What the result depends on beside the common options, as JSON can hold it. */
  readonly identity: object;
}

/** Embeddings as they are at the end. */
export interface LearnedEmbeddings {
  /** (n, d) float32 on the CPU, for each member. */
  readonly members: readonly Tensor[];
  readonly history: readonly StepReport[];
  readonly record: InversionRecord;
  readonly token: string;
}

/**
 * Runs textual inversion from the options to the embeddings.
 * @param plan checks a caller's own options and says what is to be learned
 */
export async function learnEmbeddings(
  given: StableDiffusion | string,
  options: InversionOptions,
  plan: (model: StableDiffusion, parsed: ParsedInversionOptions, random: Random) => Promise<EmbeddingTask>,
): Promise<LearnedEmbeddings> {
  const job = parseRunOptions(options);
  throwIfAborted(job.signal);
  return unscoped(async () => {
    const model =
      typeof given === "string"
        ? await StableDiffusion.load(given, job.signal === undefined ? {} : { signal: job.signal })
        : given;
    if (!(model instanceof StableDiffusion)) throw invalid("model", "a StableDiffusion or a path", model);
    const owned: { dispose(): void }[] = typeof given === "string" ? [model] : [];
    try {
      const parsed = parseInversionOptions(options, model);
      const random = new Random(job.seed);
      const { start, constraint, identity } = await plan(model, parsed, random);
      owned.push(start, ...(constraint === null ? [] : [constraint]));
      const material = await inversionMaterial(model, parsed, job.signal);
      owned.push(material.latents);
      const evaluations = new EvaluationCounter();
      const training = await EmbeddingTraining.create(model, parsed, material.latents, start, {
        constraint,
        random,
        evaluations,
      });
      owned.push(training);
      const { images, learningRate, ...plain } = parsed;
      const print = digest([
        material.identity,
        {
          ...plain,
          images: images.length,
          learningRate: String(JSON.stringify(learningRate) ?? learningRate),
        },
        identity,
        job.seed,
      ]);
      const history: StepReport[] = [];
      const context = {
        evaluations,
        signal: job.signal,
        runState: new RunState(job.checkpoint, job.resume, print),
      };
      const loop = trainingLoop(context, {
        iterations: parsed.iterations,
        state: training,
        step: (iteration) => training.step(iteration),
      });
      for await (const report of loop) {
        history.push(report);
        await tell(job.onStep, report);
      }
      const members = await readMembers(training.embeddings);
      const record: InversionRecord = {
        inputs: material.inputs,
        images: images.length,
        resized: [...material.resized],
        iterations: parsed.iterations,
        seed: job.seed,
        unetEvaluations: evaluations.total,
      };
      return { members, history, record, token: parsed.token };
    } finally {
      for (const item of owned.reverse()) item.dispose();
    }
  });
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
