import { join } from "node:path";
import { erase } from "../../lib/erasure/erase";
import type { Erasure } from "../../lib/erasure/erasure";
import type { MethodOptions } from "../../lib/erasure/registry";
import { RUN_STATE_FILE } from "../../lib/io/file-kinds";
import * as safetensors from "../../lib/io/safetensors";
import { Random } from "../../lib/runtime/random";
import type { GoldenModel } from "./golden-model";
import { referenceAdversary, type AdversaryItem, type AdversarySetting } from "./reference-adversary";
import { trainedError } from "./compare";
import { customLatents, expectLosses, trialBatches } from "./training-trials";

type Options = Partial<MethodOptions<"eap">> & Partial<MethodOptions<"age">>;

/** A run of EAP or AGE that is compared with its equations. */
export interface AdversaryVariant {
  options?: Omit<Options, "method" | "concepts"> & { concepts?: string[] };
  setting?: Partial<AdversarySetting>;
  batchSize?: number;
  preserve?: string[];
}

export const SEED = 11;
const RATE = 2e-4;
/** So few that all of them stay. */
const VOCABULARY = ["castle", "temple", "dog", "tree"];

/** A short run on the golden model. @param directory where its state is kept */
export function runAdversary(
  golden: GoldenModel,
  method: "eap" | "age",
  options: Options = {},
  directory?: string,
): Promise<Erasure> {
  const short = {
    ...{ concepts: "church", neighbours: "off", seed: SEED, iterations: 2, learningRate: RATE },
    ...{ samplingSteps: 4, poolSize: 2, spare: 0, vocabulary: VOCABULARY, searchLearningRate: 0.1 },
    ...(directory === undefined ? {} : { checkpoint: { directory, every: 100 } }),
  };
  return erase(golden.model, { ...short, ...options, method } as MethodOptions<"eap">);
}

/** The logits of a run's search at its end. */
export async function logitsOf(directory: string): Promise<number[]> {
  const state = await safetensors.load(join(directory, RUN_STATE_FILE));
  const logits = Array.from(await state.get("words.logits")!.data(), Number);
  for (const tensor of state.values()) tensor.dispose();
  return logits;
}

/** What 2 iterations draw, on latents of the caller's own or on new trajectories. */
function itemsOf({ options = {}, batchSize = 1, preserve = [] }: AdversaryVariant): AdversaryItem[][] {
  const { concepts = ["church"], latents } = options;
  const steps = 4;
  const batches = trialBatches(SEED, { iterations: 2, batchSize, texts: concepts.length, preserve });
  return batches.map(({ latents: given, timesteps, texts, preserved }, i) =>
    timesteps.map((timestep, item): AdversaryItem => {
      const held = preserved === undefined ? {} : { preserved: preserved[item]! };
      const text = (group: number) => ({ concept: concepts[group]!, group, ...held });
      if (latents !== "restart")
        return { latents: given.slice(0, item, item + 1), timestep, ...text(texts[item]!) };
      const draw = new Random(SEED).at("restart", i, item);
      const executed = draw.at("stop").below(steps);
      const noise = draw.at("noise").normal([1, 4, 16, 16]);
      const level = (steps - 1 - executed) * (1000 / steps) + 1;
      return { noise, executed, timestep: level, ...text(draw.at("text").below(concepts.length)) };
    }),
  );
}

/** The vocabulary without the concepts, in the order of the distances between the texts' states. */
async function wordsNear(golden: GoldenModel, concept: string, concepts: string[]): Promise<string[]> {
  const words = VOCABULARY.filter((word) => !concepts.includes(word));
  const states = async (text: string): Promise<number[]> =>
    Array.from(await (await golden.model.encode(text)).data(), Number);
  const own = await states(concept);
  const far = await Promise.all(
    words.map(async (word) => (await states(word)).reduce((sum, x, i) => sum + (x - own[i]!) ** 2, 0)),
  );
  return words.map((word, i) => [word, far[i]!] as const).sort((a, b) => a[1] - b[1]).map(([word]) => word); // prettier-ignore
}

/** Expects of 2 iterations the losses of the method's equations within 0.2 %, Adam's weights, and the search's logits. */
export async function expectEquations(
  golden: GoldenModel,
  method: "eap" | "age",
  variant: AdversaryVariant,
  directory: string,
): Promise<void> {
  const { options = {}, batchSize = 1 } = variant;
  const { concepts = ["church"] } = options;
  const words = await Promise.all(concepts.map((concept) => wordsNear(golden, concept, concepts)));
  const expected = await referenceAdversary(golden.model, itemsOf(variant), {
    ...{ method, space: "picture", seed: SEED, negativeGuidance: 1, lambda: 1, mixture: 1, ascends: "both" },
    ...{ temperature: method === "eap" ? 2 : 0.1, learningRate: RATE, searchLearningRate: 0.1 },
    ...{ samplingSteps: 4, startGuidance: 3, trained: (name) => name.includes("attn2") },
    words,
    ...variant.setting,
  });
  const latents = customLatents(2 * batchSize);
  const erasure = await runAdversary(golden, method, { batchSize, latents, ...options }, directory);
  expectLosses(erasure, expected.losses);
  expect(await trainedError(erasure.model.unet, expected, golden.model.unet)).toBeLessThan(1e-3);
  const logits = await logitsOf(directory);
  expect(logits).toHaveLength(expected.logits.length);
  logits.forEach((logit, word) => expect(logit).toBeCloseTo(expected.logits[word]!, 4));
  erasure.dispose();
}
