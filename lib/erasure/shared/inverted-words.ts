import type { Condition } from "../../diffusion/condition";
import { splicePrompt, type LearnedToken } from "../../diffusion/learned-tokens";
import { EmbeddingTraining } from "../../inversion/embedding-training";
import { inversion } from "../../inversion/inversion-options";
import { startingPoint } from "../../inversion/invert";
import { INVERSION_TEMPLATES } from "../../inversion/templates";
import { integer, schedule, templates, text } from "../../options/kinds";
import type { Complete } from "../../options/option";
import { Tensor } from "../../runtime/tensor";
import type { CLIPTokenizer } from "../../text/clip-tokenizer";
import type { Losses } from "../../training/player";
import type { ErasureJob } from "../job";
import { ConceptPictures, type ConceptPictureOptions } from "./concept-pictures";
import type { TrajectoryTexts } from "./trajectory-sampler";

/** Options of a search that inverts a concept's pictures round after round. */
export function invertedWords() {
  return {
    /** Rounds of the search, each of which finds a word for each concept. Default 2. */
    rounds: integer(2, "rounds of the search, each of which finds a word for each concept", { from: 1 }),
    /** Updates of each word. Default 3000. */
    inversionIterations: integer(3000, "updates of each word", { from: 1 }),
    /** Noisy pictures in such an update. Default 1. */
    inversionBatchSize: integer(1, "noisy pictures in such an update", { from: 1 }),
    /** Adam's rate for words. Default 5e-3. */
    inversionLearningRate: schedule(5e-3, "Adam's rate for words"),
    /** Captions of the pictures while a word is learned, "{}" standing for it. Default: those of `invert`. */
    inversionTemplates: templates(INVERSION_TEMPLATES, "captions of the pictures while a word is learned"),
    /** Embeddings that a word has. Default 1. */
    vectors: inversion().vectors,
    /** Text whose embedding a word starts from. Default "art". */
    initial: text("art", "text whose embedding a word starts from"),
  };
}

/** `invertedWords()`, complete, with what pictures they are learned from. */
type Options = Complete<ReturnType<typeof invertedWords>> & ConceptPictureOptions;

const named = (round: number, concept: number): string => `<found-${round}-${concept}>`;

/**
 * Words that textual inversion (arXiv 2208.01618) finds for concepts on the weights of the result as they are, in rounds:
 * each is learned from other pictures, that the model as it came has drawn of the concept or that were given.
 */
export class InvertedWords {
  private constructor(
    private readonly job: ErasureJob,
    /** Of all rounds, one concept after the other in each. */
    private readonly trainings: readonly EmbeddingTraining[],
  ) {}

  /** Makes the pictures, or finds them. @throws what `makePictures` throws */
  static async create(job: ErasureJob, o: Options): Promise<InvertedWords> {
    const { base, concepts, student } = job;
    const pictures: ConceptPictures[] = [];
    for (const concept of concepts) pictures.push(await ConceptPictures.create(job, o, concept));
    const trainings: EmbeddingTraining[] = [];
    for (let round = 0; round < o.rounds; round++) {
      for (const [concept, own] of pictures.entries()) {
        const options = {
          ...{ token: named(round, concept), vectors: o.vectors, templates: [...o.inversionTemplates] },
          ...{ iterations: o.inversionIterations, batchSize: o.inversionBatchSize },
          ...{ learningRate: o.inversionLearningRate, mirror: o.mirror },
        };
        const start = await startingPoint(base, o.initial, o.vectors);
        const part = { name: `word-${round}-${concept}`, random: job.random.at("word", round, concept) };
        const latents = own.share(round, o.rounds);
        trainings.push(await EmbeddingTraining.create(job, student, options, latents, start, null, part));
      }
    }
    return new InvertedWords(job, trainings);
  }

  /** Refuses texts that leave no room for a word. @throws INVALID_ARGUMENT */
  static fit(tokenizer: CLIPTokenizer, vectors: number, texts: readonly string[]): void {
    const word = { token: named(0, 0), embeddings: Tensor.zeros([vectors, 1]) };
    for (const template of texts)
      splicePrompt(tokenizer, template.replaceAll("{}", () => word.token), [word]); // prettier-ignore
    word.embeddings.dispose();
  }

  /** What the words of a round are called in texts, one for each concept. */
  names(round: number): string[] {
    return this.job.concepts.map((_, concept) => named(round, concept));
  }

  /** One update of each word of a round. @param iteration of the round, from 0 @returns the mean of their losses */
  async step(round: number, iteration: number): Promise<Losses> {
    const count = this.job.concepts.length;
    const losses: Tensor[] = [];
    for (const training of this.trainings.slice(round * count, (round + 1) * count))
      losses.push((await training.step(iteration))["denoising"] as Tensor);
    return { denoising: Tensor.stack(losses).mean() };
  }

  /** Texts that may hold words, as these are now. */
  async encode(texts: readonly string[]): Promise<Condition> {
    const { concepts, base } = this.job;
    const tokens = this.trainings.map(({ embeddings }, index): LearnedToken => {
      const token = named(Math.floor(index / concepts.length), index % concepts.length);
      return { token, embeddings: embeddings.detach().squeeze(0) };
    });
    return base.condition(texts, { tokens });
  }

  /** Texts for trajectories to lead towards. */
  towards(texts: readonly string[]): TrajectoryTexts {
    return { count: texts.length, of: (at) => this.encode([texts[at]!]) };
  }
}
