import { readFileSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startingNoise } from "../../../../lib/diffusion/generate";
import { erase } from "../../../../lib/erasure/erase";
import type { Erasure } from "../../../../lib/erasure/erasure";
import { saeuron, type SaeuronOptions } from "../../../../lib/erasure/methods/saeuron";
import { parseOptions } from "../../../../lib/erasure/method";
import { Activations } from "../../../../lib/erasure/shared/activations";
import { featureScores, featureTables, quantile } from "../../../../lib/erasure/shared/feature-scores";
import { trainAutoencoder } from "../../../../lib/erasure/shared/train-autoencoder";
import { SparseAutoencoder } from "../../../../lib/erasure/sparse-autoencoder";
import * as safetensors from "../../../../lib/io/safetensors";
import { unitRows, type AutoencoderWeights } from "../../../../lib/nn/sparse-autoencoder";
import { Random } from "../../../../lib/runtime/random";
import { Tensor } from "../../../../lib/runtime/tensor";
import { EvaluationCounter } from "../../../../lib/training/evaluations";
import { relativeError, relativeUpdateError } from "../../../support/compare";
import { stubJob } from "../../../support/erasure-job";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";

interface Reference {
  settings: Record<"width" | "latents" | "active" | "count" | "rate" | "auxiliary" | "deadAfter", number>;
  losses: Record<string, number>[];
  weights: Record<keyof AutoencoderWeights, number[]>;
  quantiles: number[];
}
const file = join(__dirname, "../../../fixtures/saeuron/reference.json");
const reference = JSON.parse(readFileSync(file, "utf8")) as Reference;
const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);
const draw = (seed: number, ...shape: number[]): Tensor => new Random(seed).normal(shape);

/** The weights that the reference begins with. */
function initial(): AutoencoderWeights {
  const { latents, width } = reference.settings;
  return {
    "encoder.weight": draw(100, latents, width).div(4),
    "encoder.bias": draw(102, latents).div(10),
    W_dec: unitRows(draw(101, latents, width)),
    b_dec: draw(103, width).div(10),
  };
}

describe("training of the autoencoder", () => {
  it("is two steps of PyTorch's with Adam, dead latents in the second, within 1e-4", async () => {
    const { width, active, count, rate, auxiliary, deadAfter } = reference.settings;
    const [weights, start] = [initial(), initial()];
    const job = stubJob();
    await job.run(() =>
      trainAutoencoder(job, weights, (i, size) => draw(200 + i, size, width), {
        ...{ active, iterations: 2, batchSize: count, learningRate: rate },
        ...{ auxiliaryWeight: auxiliary, deadAfter },
      }),
    );
    for (const [step, expected] of reference.losses.entries()) {
      const actual = job.history[step]!.losses;
      expect(Object.keys(actual)).toEqual(Object.keys(expected));
      for (const [name, value] of Object.entries(expected))
        expect(Math.abs(actual[name]! / value - 1)).toBeLessThan(1e-5);
    }
    for (const name of Object.keys(start) as (keyof AutoencoderWeights)[]) {
      const expected = Tensor.from(reference.weights[name], start[name].shape);
      expect(await relativeUpdateError(weights[name], expected, start[name])).toBeLessThan(1e-4);
    }
    for (const norm of await numbers(weights.W_dec.square().sum([1]).sqrt()))
      expect(Math.abs(norm - 1)).toBeLessThan(2e-7);
  });
});

describe("scores of features", () => {
  const values = (seed: number, count: number): Promise<number[]> => numbers(draw(seed, count).abs());

  it("sum to 0, being the difference of two shares", async () => {
    const [own, others] = [await values(1, 5000), await values(2, 5000)];
    const scores = featureScores(
      Float32Array.from(own),
      Float32Array.from(others, (v) => 40 * v),
    );
    expect(Math.abs(scores.reduce((a, b) => a + b, 0))).toBeLessThan(1e-9);
    expect(scores.reduce((a, b) => a + Math.abs(b), 0)).toBeGreaterThan(0.1);
  });

  it("have the quantiles of torch.quantile, and as many above the published ones as its codes have", async () => {
    const scores = Float64Array.from(await numbers(draw(500, 50)));
    const own = [0, 0.3, 0.9, 0.99, 0.999].map((share) => quantile(scores, share));
    own.forEach((value, i) => expect(Math.abs(value - reference.quantiles[i]!)).toBeLessThan(1e-8));
    const all = Float64Array.from(await numbers(draw(3, 20480)));
    const above = (percentile: number): number => {
      const bound = quantile(all, percentile / 100);
      return all.filter((score) => score > bound).length;
    };
    expect([99.999, 99.995, 99.99].map(above)).toEqual([1, 2, 3]);
  });

  it("choose features, factors and thresholds as a loop in plain numbers does, for two concepts", async () => {
    const { latents, width, active } = reference.settings;
    const [steps, places, texts, concepts] = [2, 5, 4, 2];
    const weights = initial();
    const vectors = Array.from({ length: texts }, (_, text) => draw(600 + text, steps, places, width));
    const source = { timesteps: [900, 100], of: (text: number) => vectors[text]! };
    const choice = { active, percentile: 80, multiplier: -3 };
    const { change, threshold, chosen } = await featureTables(weights, source, { concepts, texts }, choice);
    const w = Object.fromEntries(
      await Promise.all(Object.entries(weights as object).map(async ([name, tensor]) => [name, await numbers(tensor as Tensor)])),
    ) as Record<keyof AutoencoderWeights, number[]>; // prettier-ignore
    const x = await Promise.all(vectors.map(numbers));
    const mean = (text: number, step: number): number[] => {
      const sums = Array<number>(latents).fill(0);
      for (let place = 0; place < places; place++) {
        const at = (step * places + place) * width;
        const z = sums.map((_, i) => {
          let sum = w["encoder.bias"][i]!;
          for (let c = 0; c < width; c++)
            sum += w["encoder.weight"][i * width + c]! * (x[text]![at + c]! - w.b_dec[c]!);
          return Math.max(0, sum);
        });
        const least = [...z].sort((a, b) => b - a)[active - 1]!;
        z.forEach((value, i) => (sums[i]! += value >= least ? value / places : 0));
      }
      return sums;
    };
    const expected = { change: [] as number[], threshold: [] as number[] };
    for (let step = 0; step < steps; step++) {
      const means = Array.from({ length: texts }, (_, text) => mean(text, step));
      const others = means[0]!.map((_, i) => (means[2]![i]! + means[3]![i]!) / 2);
      const share = (own: readonly number[]): number[] =>
        own.map((value) => value / own.reduce((a, b) => a + b, 0));
      const scores = [0, 1].map((concept) =>
        share(means[concept]!).map((value, i) => value - share(others)[i]!),
      );
      // 24 scores: the percentile 80 lies between the 19th and the 20th.
      const bounds = scores.map((own) => { const s = [...own].sort((a, b) => a - b); return s[18]! + (s[19]! - s[18]!) * 0.4; }); // prettier-ignore
      for (let i = 0; i < latents; i++) {
        const [a, b] = [scores[0]![i]!, scores[1]![i]!];
        const chosenOnes = [a > bounds[0]! ? a : -1, b > bounds[1]! ? b : -1];
        const best = chosenOnes[0]! >= chosenOnes[1]! ? 0 : 1;
        expected.change.push(chosenOnes[best] === -1 ? 0 : -3 * means[best]![i]! - 1);
        // Over all texts, the concepts among them.
        expected.threshold.push(means.reduce((sum, own) => sum + own[i]!, 0) / texts);
      }
    }
    expect(chosen).toBe(expected.change.filter((value) => value !== 0).length);
    expect(chosen).toBeGreaterThan(10);
    expect(await relativeError(change, Tensor.from(expected.change, change.shape))).toBeLessThan(1e-5);
    expect(await relativeError(threshold, Tensor.from(expected.threshold, change.shape))).toBeLessThan(1e-5);
  });
});

describe("SAeUron", () => {
  let golden: GoldenModel;
  let folder: string;
  let first: Erasure;
  const SITE = "up_blocks.1.attentions.1";
  const short = (more: Partial<SaeuronOptions> = {}): SaeuronOptions => ({
    ...{ method: "saeuron", concepts: "church", preserve: ["dog"], neighbours: "off" },
    ...{ images: 2, samplingSteps: 2, places: 3, active: 3, expansion: 2, iterations: 2, batchSize: 4 },
    ...{ percentile: 97, cacheDirectory: join(folder, "cache"), ...more },
  });

  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
    folder = await mkdtemp(join(tmpdir(), "kpop-saeuron-"));
    first = await erase(golden.model, short());
  });
  afterAll(async () => {
    first.dispose();
    await golden.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  it("looks at the conditional half of guidance, at every step, and keeps what it saw", async () => {
    const { model } = golden;
    const o = parseOptions(saeuron, short({ places: 16, images: 1, cacheDirectory: join(folder, "own") }) as object as Record<string, unknown>, { concepts: ["church"] }) as never; // prettier-ignore
    const job = stubJob({ base: model });
    const collect = (...texts: string[]) =>
      job.evaluations.run(async (): Promise<[Activations, number]> => {
        const before = job.evaluations.total;
        const collected = await Activations.collect(job, texts, o);
        return [collected, job.evaluations.total - before];
      });
    const [found, spent] = await collect("church");
    const steps = found.timesteps.length;
    expect(spent).toBe(2 * steps);
    const noise = startingNoise(model, 0, { width: model.imageSize, height: model.imageSize });
    const inputs = [noise, found.timesteps[0]!, await model.encode("church"), [SITE]] as const;
    const output = (await model.unet.activations(...inputs)).get(SITE)!;
    const seen = found.of(0);
    expect(seen.shape).toEqual([steps, 16, 64]);
    // All places are kept here, in an order that is drawn.
    const sorted = async (tensor: Tensor): Promise<number[]> => (await numbers(tensor)).sort((a, b) => a - b);
    const [actual, expected] = [await sorted(seen.slice(0, 0, 1)), await sorted(output)];
    const largest = Math.max(...expected.map(Math.abs));
    actual.forEach((value, i) => expect(Math.abs(value - expected[i]!) / largest).toBeLessThan(2 ** -10));
    const [again, more] = await collect("church", "dog");
    expect([more, await numbers(again.of(0))]).toEqual([2 * steps, await numbers(seen)]);
    expect((await readdir(join(folder, "own"))).length).toBe(2);
  });

  it("uses a saved autoencoder for another concept, without training", async () => {
    const path = join(folder, "autoencoder.safetensors");
    await first.artefacts[0]!.save(path);
    const second = await erase(golden.model, short({ concepts: "fish", autoencoder: path }));
    expect([first.history.length, second.history]).toEqual([2, []]);
    const [own, other] = [first, second].map(({ model }) => model.interventions[0]!.tensors!);
    for (const name of ["encoder.weight", "encoder.bias", "W_dec", "b_dec"])
      expect(await numbers(other!.get(name)!)).toEqual(await numbers(own!.get(name)!));
    expect(await numbers(other!.get("change")!)).not.toEqual(await numbers(own!.get("change")!));
    expect(second.artefacts.map(({ name }) => name)).toEqual(["autoencoder"]);
    second.dispose();
    const loaded = await SparseAutoencoder.load(path);
    expect([loaded.site, loaded.active, loaded.width, loaded.latents]).toEqual([SITE, 3, 64, 128]);
    loaded.dispose();
  });

  it.each<[string, Partial<SaeuronOptions>, RegExp]>([
    ["at the highest percentile", { percentile: 100 }, /above their percentile 100 .*of 128 latents at each of 3 steps there are none: lower percentile/],
    ["for a concept that is held", { preserve: ["church"] }, /above their percentile 97 .*give texts to preserve that differ more/],
  ])("ends with a word on what to do where no latent is chosen: %s", async (_, more, message) => {
    await expect(erase(golden.model, short(more))).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  }); // prettier-ignore

  it("refuses what can't be before anything is drawn, with the numbers", async () => {
    const narrow = join(folder, "narrow.safetensors");
    const weights = initial();
    await new SparseAutoencoder({ weights, site: SITE, active: 2 }).save(narrow);
    const foreign = join(folder, "foreign.safetensors");
    await safetensors.save(foreign, { x: Tensor.zeros([2]) });
    const damaged = join(folder, "damaged.safetensors");
    await safetensors.save(damaged, { ...weights, b_dec: Tensor.zeros([5]) }, { format: "kpop-sparse-autoencoder-1", site: SITE, active: "2" }); // prettier-ignore
    const greedy = join(folder, "greedy.safetensors");
    await safetensors.save(greedy, { ...weights }, { format: "kpop-sparse-autoencoder-1", site: SITE, active: "25" }); // prettier-ignore
    const cases: [Partial<SaeuronOptions>, string, RegExp][] = [
      [{ autoencoder: narrow }, "INVALID_ARGUMENT", /up_blocks.1.attentions.1 with 64 channels, but .*narrow.* with 6:/],
      [{ autoencoder: foreign }, "UNSUPPORTED_FORMAT", /foreign.safetensors is no sparse autoencoder/],
      [{ autoencoder: damaged }, "UNSUPPORTED_FORMAT", /damaged.*b_dec to be of shape \[6\] but received \[5\]/],
      [{ autoencoder: greedy }, "UNSUPPORTED_FORMAT", /greedy.*active to be an integer from 1 to 24 but received 25/],
      [{ autoencoder: join(folder, "none") }, "NOT_FOUND", /none/],
      [{ site: "up_blocks.1.resnets.0" }, "INVALID_ARGUMENT", /one of the UNet's 7 transformers but received "up_blocks.1.resnets.0"/],
      [{ active: 129 }, "INVALID_ARGUMENT", /active to be at most 128.*received 129/],
      [{ preserve: [] }, "INVALID_ARGUMENT", /tell "church" from but received 0/],
      [{ neighbours: "adversarial" }, "INVALID_ARGUMENT", /"nearest" or "off" with "saeuron"/],
    ]; // prettier-ignore
    for (const [more, code, message] of cases) {
      const counter = new EvaluationCounter();
      const call = counter.run(() => erase(golden.model, short(more)));
      await expect(call).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string });
      expect(counter.total).toBe(0);
    }
  });
});
