import type { StableDiffusion } from "../../lib/diffusion/stable-diffusion";
import { noGrad } from "../../lib/runtime/grad-mode";
import { Random } from "../../lib/runtime/random";
import { requireGradients, Tensor } from "../../lib/runtime/tensor";
import type { ReferenceWeights } from "./compare";
import { ReferenceAdam } from "./reference-adam";

/** One item of an iteration's batch. */
export interface AdversaryItem {
  /** z_t where it is given; else noise that the student denoises in that many steps, for the concept and for its word. */
  latents?: Tensor;
  noise?: Tensor;
  executed?: number;
  timestep: number;
  concept: string;
  /** Index of the concept, whose words are drawn from. */
  group: number;
  preserved?: string;
}

export interface AdversarySetting {
  method: "eap" | "age";
  /** In x̂₀, or in ε. */
  space: "picture" | "noise";
  /** Of each concept. */
  words: string[][];
  seed: number;
  negativeGuidance: number;
  lambda: number;
  temperature: number;
  mixture: number;
  ascends: "both" | "hold";
  trained: (name: string) => boolean;
  learningRate: number;
  searchLearningRate: number;
  samplingSteps: number;
  startGuidance: number;
}

interface Drawn {
  /** c_a, (1, L, d). */
  context: Tensor;
  /** Share of each word in the gradient, by place in the list of all. */
  shares: number[];
}

/**
 * EAP and AGE written down as their equations stand: one item and one forward at a time, x̂₀ made of each prediction, the
 * gradient of the search by hand from that of the text, and Adam in float64.
 * @returns the losses of each iteration, the trained weights and the logits at the end
 */
export async function referenceAdversary(
  model: StableDiffusion,
  batches: readonly (readonly AdversaryItem[])[],
  setting: AdversarySetting,
): Promise<ReferenceWeights & { losses: Record<string, number>[]; logits: number[] }> {
  const { lambda, space, temperature } = setting;
  const names = model.unet.parameterNames().filter(setting.trained);
  const student = await model.derive(new Set(names), "float32");
  const weights = names.map((name) => student.unet.parameter(name));
  const adam = new ReferenceAdam(weights);
  const groups = setting.words.flatMap((words, group) => words.map(() => group));
  const states = await noGrad(() => model.encode(setting.words.flat())); // (n, L, d)
  const rows = await matrix(states);
  const logits = Tensor.from(groups.map((group) => 1 / setting.words[group]!.length), [groups.length]); // prettier-ignore
  const searchAdam = new ReferenceAdam([logits]);
  const empty = await noGrad(() => model.encode([""]));

  const draw = async (group: number, trajectory: number): Promise<Drawn> => {
    const pi = Array.from(await logits.data(), Number);
    const random = new Random(setting.seed).at("words", "trajectory", trajectory);
    const scores = pi.map((value, word) => {
      const g = -Math.log(-Math.log(random.at(word).uniform() + 1e-10) + 1e-10);
      return groups[word] === group ? (value + g) / temperature : -Infinity;
    });
    const least = [...scores].sort((a, b) => b - a)[setting.mixture - 1]!;
    const kept = setting.mixture === 1 ? scores : scores.map((s) => (s >= least ? s : -Infinity));
    const powers = kept.map(Math.exp);
    const sum = powers.reduce((a, b) => a + b);
    const shares = powers.map((power) => power / sum);
    const values = setting.mixture === 1 ? oneHot(scores) : shares;
    const mixed = rows[0]!.map((_, i) => values.reduce((total, share, word) => total + share * rows[word]![i]!, 0)); // prettier-ignore
    return { context: Tensor.from(mixed, [1, ...states.shape.slice(1)]), shares };
  };
  const seen = (epsilon: Tensor, z: Tensor, t: number): Tensor => {
    if (space === "noise") return epsilon;
    const level = model.schedule.alphasCumprod[t]!;
    return z.sub(epsilon.mul(Math.sqrt(1 - level))).mul(1 / Math.sqrt(level));
  };
  const predict = async (of: StableDiffusion, z: Tensor, t: number, context: Tensor): Promise<Tensor> =>
    seen(await of.unet.forward(z, t, context, { grad: true }), z, t);
  const original = (z: Tensor, t: number, context: Tensor): Promise<Tensor> =>
    noGrad(() => predict(model, z, t, context));
  const sample = (item: AdversaryItem, context: Tensor): Promise<Tensor> =>
    item.latents !== undefined
      ? Promise.resolve(item.latents)
      : noGrad(() => denoise(student, item, context, empty, setting));

  const history: Record<string, number>[] = [];
  for (const [iteration, items] of batches.entries()) {
    const share = 1 / items.length;
    const losses: Record<string, number> = {};
    const add = async (name: string, loss: Tensor, weight = 1): Promise<void> => {
      losses[name] = (losses[name] ?? 0) + share * (await loss.detach().item());
      await loss.mul(weight * share).backward();
    };
    const made = [];
    for (const [place, item] of items.entries()) {
      const concept = await noGrad(() => model.encode([item.concept]));
      const word = await draw(item.group, iteration * items.length + place);
      const z = await sample(item, concept);
      const held = await sample(item, word.context);
      made.push({ item, concept, word, z, held });
    }

    await requireGradients(weights, true);
    for (const { item, concept, word, z, held } of made) {
      const { timestep: t } = item;
      const from = await original(z, t, setting.method === "eap" ? empty : word.context);
      const away = (await original(z, t, concept)).sub(from).mul(setting.negativeGuidance);
      await add("erase", (await predict(student, z, t, concept)).mse(from.sub(away)));
      const now = await predict(student, held, t, word.context);
      await add("hold", now.mse(await original(held, t, word.context)), lambda);
      if (item.preserved === undefined) continue;
      const context = await noGrad(() => model.encode([item.preserved!]));
      const kept = await predict(student, z, t, context);
      await add("preserve", kept.mse(await original(z, t, context)));
    }
    await adam.step(setting.learningRate);
    await requireGradients(weights, false);

    const both = setting.method === "age" && setting.ascends === "both";
    const slope = new Array<number>(groups.length).fill(0);
    for (const { item, concept, word, z, held } of made) {
      const { timestep: t } = item;
      const context = await word.context.clone().detach().requireGrad();
      const harm = (await predict(student, held, t, context)).mse(await original(held, t, word.context));
      await add("search", both ? harm.mul(lambda) : harm);
      if (both) {
        const gone = await noGrad(() => predict(student, z, t, concept));
        await add("search", gone.detach().mse(await predict(model, z, t, context)));
      }
      // Of Σ_j s_j M_j with s = softmax((π + g) / T): s_j (⟨G, M_j⟩ - Σ_k s_k ⟨G, M_k⟩) / T.
      const gradient = Array.from(await context.grad!.data(), Number);
      const along = rows.map((row) => row.reduce((sum, x, i) => sum + x * gradient[i]!, 0));
      const mean = along.reduce((sum, value, j) => sum + word.shares[j]! * value, 0);
      along.forEach((value, j) => (slope[j]! += (word.shares[j]! * (value - mean)) / temperature));
    }
    await logits.requireGrad();
    await logits
      .mul(Tensor.from(slope, [slope.length]))
      .sum()
      .mul(-1)
      .backward();
    await searchAdam.step(setting.searchLearningRate);
    await logits.requireGrad(false);
    history.push(losses);
  }
  const final = new Map(names.map((name, index) => [name, weights[index]!.clone()]));
  await Promise.all([...final.values()].map((tensor) => tensor.settled()));
  student.dispose();
  return {
    losses: history,
    weights: final,
    conditioned: adam.conditioned,
    logits: Array.from(await logits.data(), Number),
  };
}

/** DDIM (arXiv 2010.02502 eq. 12, η = 0) from noise on, guided, over the first steps of the run. */
async function denoise(
  of: StableDiffusion,
  { noise, executed }: AdversaryItem,
  context: Tensor,
  empty: Tensor,
  { samplingSteps, startGuidance }: AdversarySetting,
): Promise<Tensor> {
  const { alphasCumprod, config } = of.schedule;
  const stride = Math.floor(alphasCumprod.length / samplingSteps);
  let z = noise!;
  for (let step = 0; step < executed!; step++) {
    const t = (samplingSteps - 1 - step) * stride + config.stepsOffset;
    const [a, b] = [alphasCumprod[t]!, alphasCumprod[Math.max(0, t - stride)]!];
    const unconditional = await of.unet.forward(z, t, empty);
    const conditional = await of.unet.forward(z, t, context);
    const e = unconditional.add(conditional.sub(unconditional).mul(startGuidance));
    const clean = z.sub(e.mul(Math.sqrt(1 - a))).mul(1 / Math.sqrt(a));
    z = clean.mul(Math.sqrt(b)).add(e.mul(Math.sqrt(1 - b)));
  }
  return z;
}

function oneHot(scores: readonly number[]): number[] {
  const largest = scores.indexOf(Math.max(...scores));
  return scores.map((_, word) => (word === largest ? 1 : 0));
}

/** Each text's states as one row. */
async function matrix(states: Tensor): Promise<number[][]> {
  const data = Array.from(await states.data(), Number);
  const [count] = states.shape as [number];
  const width = data.length / count;
  return Array.from({ length: count }, (_, row) => data.slice(row * width, (row + 1) * width));
}
