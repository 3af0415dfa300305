import { existsSync } from "node:fs";
import { join } from "node:path";
import { Random, scope } from "../../lib/index";
import { DigitClassifier } from "../digits/classifier";
import { readDigits, type Digits } from "../digits/dataset";
import { fineTune, learnMore, negate } from "../digits/erase";
import { atDistances, drawnPlainly, drawOthers } from "../digits/measure";
import { DigitModel } from "../digits/model";
import { pretrain } from "../digits/pretrain";
import { smallestAlpha } from "../digits/smallest-alpha";
import { ORIGINAL, type Count, type DigitsOutcome, type TrialOutcome, type TrialSpec } from "../results";
import { trialSpec, type Case, type PlanContext, type TrialContext } from "./case";

/**
 * The toy experiment of the task vectors' paper (arXiv 2404.03631) on 8×8 digits: one digit is erased by fine-tuning at
 * its embedding and by a negated task vector, and both are attacked with embeddings ever further from its own. The paper's
 * settings for its toy are not known to us: model, radii and rates are ours. Runs on the CPU.
 */
export const digits: Case = { trials, measure, standalone: true };

/** How much of everything. */
interface Effort {
  classifier: number;
  pretraining: number;
  fineTuning: number;
  taskVector: number;
  /** Steps of the search for embeddings. */
  search: number;
  /** Embeddings for each radius. */
  embeddings: number;
  radii: number[];
  /** Pictures for each embedding. */
  images: number;
}

/** The digits' embeddings are about 8 apart, and 5 to 6 long. */
const FULL: Effort = {
  classifier: 200,
  pretraining: 1200,
  fineTuning: 150,
  taskVector: 250,
  search: 100,
  embeddings: 6,
  radii: [1, 2, 4, 8, 16],
  images: 16,
};
const QUICK: Effort = {
  classifier: 20,
  pretraining: 20,
  fineTuning: 5,
  taskVector: 5,
  search: 3,
  embeddings: 2,
  radii: [2, 8],
  images: 4,
};

const ERASED = ["3"];
const FINE_TUNING_RATE = 1e-4;
const TASK_VECTOR_RATE = 1e-3;
/** Pictures in a step of the search, for each embedding. */
const SEARCH_BATCH = 4;
/** The digit's own embedding gets so many times the pictures of another. */
const OWN = 8;

function trials({ settings }: PlanContext): TrialSpec[] {
  const effort = settings.quick ? QUICK : FULL;
  return ERASED.map((digit) =>
    trialSpec({
      name: `digits-${digit}`,
      experiment: "digits",
      method: ORIGINAL,
      label: digit,
      options: { ...effort },
      erased: [digit],
      imagesPerClass: effort.images,
    }),
  );
}

async function measure(context: TrialContext): Promise<TrialOutcome> {
  return { digits: await scope(() => experiment(context)) };
}

async function experiment({ spec, settings, shared, log }: TrialContext): Promise<DigitsOutcome> {
  const effort = spec.options as unknown as Effort;
  const digit = Number(spec.erased[0]);
  const random = new Random(settings.seed);
  const { train, heldOut } = readDigits();
  using classifier = await DigitClassifier.train(train, effort.classifier, random.at("classifier"));
  const accuracy = await judge(classifier, heldOut);
  log(`The classifier is right on ${accuracy.hits} of ${accuracy.images} held-out digits`);
  using original = await pretrained(train, effort, random.at("model"), shared, log);

  const own = OWN * effort.images;
  const plainly = (model: DigitModel, label: string): Promise<Count> =>
    drawnPlainly(model, classifier, digit, own, random.at(label));
  using fineTuned = await fineTune(original, train, digit, {
    steps: effort.fineTuning,
    learningRate: FINE_TUNING_RATE,
    random: random.at("fine-tuning"),
  });
  using further = await learnMore(original, train, digit, {
    steps: effort.taskVector,
    learningRate: TASK_VECTOR_RATE,
    random: random.at("task-vector"),
  });
  const { hits: allowed } = await plainly(fineTuned, "strength");
  const alpha = await smallestAlpha(async (strength) => {
    using edited = await negate(original, further, strength);
    const { hits } = await plainly(edited, "strength");
    log(`α ${strength}: ${hits} of ${own} plain pictures show the digit, ${allowed} may`);
    return hits;
  }, allowed);
  using vector = await negate(original, further, alpha);
  const models = { original, "fine-tuning": fineTuned, "task-vector": vector };

  const outcome: DigitsOutcome = { digit, classifier: accuracy, alpha, models: [], distances: [] };
  for (const [name, model] of Object.entries(models) as [keyof typeof models, DigitModel][]) {
    const plain = await plainly(model, "plain");
    const others = await drawOthers(model, classifier, digit, 2 * effort.images, random.at("others"));
    log(`${name}: ${plain.hits} of ${plain.images} at its own embedding, others ${others.kept.hits} of ${others.kept.images}`); // prettier-ignore
    outcome.models.push({ name, plain, ...others });
    const { radii, embeddings, images, search: steps } = effort;
    const options = { radii, embeddings, images, steps, batch: SEARCH_BATCH, random: random.at("attack") };
    for (const count of await atDistances(model, classifier, train, digit, options)) {
      log(`${name}, ${count.input} within ${count.radius}: ${count.hits} of ${count.images}`);
      outcome.distances.push({ model: name, ...count });
    }
  }
  return outcome;
}

/** The trained model, which trials of the same settings share. */
async function pretrained(
  train: Digits,
  { pretraining }: Effort,
  random: Random,
  shared: string,
  log: (sentence: string) => void,
): Promise<DigitModel> {
  const path = join(shared, `digits-${pretraining}.safetensors`);
  if (existsSync(path)) return DigitModel.load(path);
  const model = await pretrain(train, pretraining, random);
  await model.save(path);
  log(`Trained the model for ${pretraining} steps`);
  return model;
}

async function judge(classifier: DigitClassifier, heldOut: Digits): Promise<Count> {
  const seen = await classifier.classify(heldOut.pictures(heldOut.labels.map((_, place) => place)));
  return {
    images: heldOut.length,
    hits: seen.filter((label, place) => label === heldOut.labels[place]).length,
  };
}
