import { erase } from "../../../../lib/erasure/erase";
import type { Erasure } from "../../../../lib/erasure/erasure";
import type { CaOptions } from "../../../../lib/erasure/methods/ca";
import type { EsdOptions } from "../../../../lib/erasure/methods/esd";
import { prune, type PruneOptions } from "../../../../lib/erasure/methods/prune";
import { parseOptions } from "../../../../lib/erasure/method";
import { WeightMask } from "../../../../lib/erasure/shared/weight-mask";
import { Random } from "../../../../lib/runtime/random";
import { requireGradients, Tensor } from "../../../../lib/runtime/tensor";
import { caTrials, IMAGES, PICTURES, SEED } from "../../../support/ca-trials";
import { relativeError } from "../../../support/compare";
import { stubJob } from "../../../support/erasure-job";
import { referencePrune, type PruneLosses } from "../../../support/reference-prune";
import { customLatents, expectLosses, lossesOf, trialBatches } from "../../../support/training-trials";

const INVALID = { name: "KpopError", code: "INVALID_ARGUMENT" };
const RATE = 1e-3;
/** Crossed by two steps of Adam in one direction. */
const MARGIN = 1.5e-3;
const values = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);
const sigmoid = (s: number): number => 1 / (1 + Math.exp(-s));

describe("a mask over weights", () => {
  const WEIGHT = [0.5, -2, 3e-8, 0.1];
  const trained = ["a", "b"];
  /** A job with two weights of the same numbers, and a mask over them. */
  function masked(margin: number) {
    const weights = new Map(trained.map((name) => [name, Tensor.from(WEIGHT, [2, 2])]));
    const job = stubJob({ trained });
    job.weights = () => weights;
    return { weights, mask: WeightMask.create(job, margin) };
  }
  const set = (mask: WeightMask, name: string, logits: readonly number[]): Promise<void> =>
    mask.logits.get(name)!.copyFrom(Tensor.from([...logits], [2, 2]));

  it("begins as nothing: every weight is what it was, to the bit, and stays so when it is written", async () => {
    const { weights, mask } = masked(0.731);
    await requireGradients([...mask.logits.values()], true);
    for (const tensor of mask.masked().values())
      expect(await values(tensor)).toEqual(await values(Tensor.from(WEIGHT, [2, 2])));
    await requireGradients([...mask.logits.values()], false);
    expect(await mask.pruned().item()).toBe(0);
    await mask.write();
    for (const weight of weights.values()) expect(await values(weight)).toEqual(await values(Tensor.from(WEIGHT, [2, 2]))); // prettier-ignore
  });

  it("is 0 or 1 and nothing between, however far its logits are, and the same when it is applied twice", async () => {
    const { weights, mask } = masked(1);
    await set(mask, "a", [0.01, -0.01, 500, -500]);
    const expected = await values(Tensor.from([0.5, 0, 3e-8, 0], [2, 2]));
    expect((await values(mask.masked().get("a")!)).map(Math.abs)).toEqual(expected);
    expect(await mask.pruned().item()).toBe(2 / 8);
    for (let time = 0; time < 2; time++) {
      await mask.write();
      expect((await values(weights.get("a")!)).map(Math.abs)).toEqual(expected);
    }
  });

  it("has the gradient that it would have without rounding, on either side, and gives the weights none", async () => {
    const { weights, mask } = masked(1);
    const logits = [0.3, -0.7, 2, -3];
    await set(mask, "a", logits);
    const leaves = [...mask.logits.values()];
    await requireGradients(leaves, true);
    const factor = [1, -2, 3e7, 4];
    await mask.masked().get("a")!.mul(Tensor.from(factor, [2, 2])).sum().backward(); // prettier-ignore
    const slope = logits.map((s) => sigmoid(s) * (1 - sigmoid(s)));
    const gradient = await values(leaves[0]!.grad!);
    gradient.forEach((value, i) => expect(value / (factor[i]! * WEIGHT[i]! * slope[i]!)).toBeCloseTo(1, 5));
    expect(weights.get("a")!.grad).toBeNull();
    await leaves[0]!.zeroGrad();
    const sparsity = mask.sparsity();
    const kept = [...logits, 1, 1, 1, 1].map(sigmoid);
    expect(await sparsity.item()).toBeCloseTo(kept.reduce((sum, s) => sum + 1 - s, 0) / 8, 6);
    await sparsity.backward();
    (await values(leaves[0]!.grad!)).forEach((value, i) =>
      expect(value / (-slope[i]! / 8)).toBeCloseTo(1, 5),
    );
    await requireGradients(leaves, false);
  });
});

describe("a learned mask", () => {
  const { batches: caBatches, model, cacheDirectory } = caTrials();
  const run = (options: Partial<PruneOptions> = {}): Promise<Erasure> =>
    erase(model(), {
      ...{ concepts: "church", neighbours: "off", seed: SEED, iterations: 3, learningRate: RATE },
      ...{ margin: MARGIN, samplingSteps: 6, cacheDirectory: cacheDirectory() },
      ...(options.loss === "ca" ? {} : { poolSize: 2 }),
      ...options,
      method: "prune",
    });
  const CA = {
    ...PICTURES,
    loss: "ca",
    images: IMAGES,
    augment: false,
    iterations: 2,
    batchSize: 2,
  } as const;
  const SETTING = {
    trained: (name: string) => name.includes("attn2"),
    ...{ learningRate: RATE, margin: MARGIN, sparsityWeight: 0.3 },
  };

  /** The share of the weights' masks in which two results differ. */
  async function differing(
    { model: pruned }: Erasure,
    weights: ReadonlyMap<string, Tensor>,
  ): Promise<number> {
    let [wrong, count] = [0, 0];
    for (const [name, expected] of weights) {
      const [actual, reference, before] = [await values(pruned.unet.parameter(name)), await values(expected), await values(model().unet.parameter(name))]; // prettier-ignore
      // A weight is what it was, to the bit, or nothing.
      expect(actual.every((value, i) => value === before[i] || value === 0)).toBe(true);
      wrong += actual.filter((value, i) => value !== reference[i]).length;
      count += actual.length;
    }
    return wrong / count;
  }

  // Where an element's loss and sparsity outweigh each other, the sign of its gradient is float32's noise, and with it
  // Adam's first step.
  it.each<
    [string, Partial<PruneOptions>, { batchSize?: number; sparsityWeight?: number; preserve?: string[] }]
  >([
    ["its defaults", {}, {}],
    ["two latents an iteration, and prompts to preserve", { batchSize: 2, preserve: ["a dog", "a fish"] }, { batchSize: 2, preserve: ["a dog", "a fish"] }], // prettier-ignore
    ["another weight of sparsity", { sparsityWeight: 1 }, { sparsityWeight: 1 }],
  ])("of ESD's loss, with %s, is that of its equations", async (_, options, own) => {
    const { batchSize = 1, preserve = [], sparsityWeight = 0.3 } = own;
    const drawn = trialBatches(SEED, { iterations: 3, batchSize, texts: 1, preserve });
    const losses: PruneLosses = async (iteration, student, teacher) => {
      const { latents, timesteps, texts, preserved } = drawn[iteration]!;
      const [named, none] = [texts.map(() => "church"), texts.map(() => "")];
      const [with_, without] = [await teacher(latents, timesteps, named), await teacher(latents, timesteps, none)]; // prettier-ignore
      const target = without.mul(2).sub(with_);
      return {
        erase: (await student(latents, timesteps, named, true)).mse(target),
        ...(preserved === undefined
          ? {}
          : { preserve: (await student(latents, timesteps, preserved, true)).mse(await teacher(latents, timesteps, preserved)) }), // prettier-ignore
      };
    };
    const expected = await referencePrune(model(), 3, losses, { ...SETTING, sparsityWeight });
    const erasure = await run({ latents: customLatents(3 * batchSize), ...options });
    const shares = lossesOf(erasure).map(({ pruned }) => pruned!);
    expect(shares[0]).toBe(0);
    expect(shares[2]).toBeGreaterThan(0.02);
    expectLosses(erasure, expected.losses, { relative: 5e-3 });
    expect(await differing(erasure, expected.weights)).toBeLessThan(2e-3);
    erasure.dispose();
  });

  it("of CA's loss is that of its equations, with a prior loss", async () => {
    const erasure = await run({ ...CA, anchor: "castle", priorWeight: 0.7, iterations: 2, margin: 0.5e-3 });
    const drawn = await caBatches([[["castle", "church"]]]);
    const losses: PruneLosses = async (iteration, student) => {
      const { clean, noise, timesteps, anchors, targets } = drawn[iteration]!;
      const level = timesteps.map((t) => model().schedule.alphaCumprod(t));
      const column = (numbers: number[]): Tensor => Tensor.from(numbers, [numbers.length, 1, 1, 1]);
      const z = clean.mul(column(level.map(Math.sqrt))).add(noise.mul(column(level.map((a) => Math.sqrt(1 - a))))); // prettier-ignore
      const anchor = await student(z, timesteps, anchors, true);
      const erased = (await student(z, timesteps, targets, true)).mse(anchor.detach());
      return { erase: erased, prior: anchor.mse(noise).mul(0.7) };
    };
    const expected = await referencePrune(model(), 2, losses, { ...SETTING, margin: 0.5e-3 });
    const unweighted = expected.losses.map((each) => ({ ...each, prior: each["prior"]! / 0.7 }));
    expect(lossesOf(erasure)[1]!["pruned"]).toBeGreaterThan(0.02);
    expectLosses(erasure, unweighted, { relative: 5e-3 });
    expect(await differing(erasure, expected.weights)).toBeLessThan(2e-3);
    erasure.dispose();
  });

  it("begins with the losses of the methods that it is learned with, to the bit", async () => {
    const preserve = ["a dog"];
    const shared = { concepts: "church", preserve, neighbours: "off", seed: SEED } as const;
    const pairs: [Partial<PruneOptions>, EsdOptions | CaOptions][] = [
      [{ negativeGuidance: 2, samplingSteps: 6 }, { method: "esd", ...shared, negativeGuidance: 2, iterations: 1, poolSize: 2, samplingSteps: 6 }], // prettier-ignore
      [{ ...CA, anchor: "castle", samplingSteps: 2 }, { method: "ca", ...shared, ...PICTURES, images: IMAGES, augment: false, batchSize: 2, anchor: "castle", iterations: 1, cacheDirectory: cacheDirectory() }], // prettier-ignore
    ];
    for (const [own, other] of pairs) {
      const mask = await run({ ...own, preserve, iterations: 1, margin: RATE / 2 });
      const { pruned, ...losses } = lossesOf(mask)[0]!;
      const weights = await erase(model(), other);
      expect(losses).toEqual(lossesOf(weights)[0]);
      expect(pruned).toBeGreaterThan(0);
      mask.dispose();
      weights.dispose();
    }
  });

  it("predicts with masked weights wherever the student does: its trajectories too, and what it holds in place", async () => {
    // Half of the weights go in the first iteration, before which all is the teacher's. New trajectories are all the
    // student's own, where a pool's take its predictions for the loss.
    const first = {
      ...{ iterations: 3, margin: RATE / 2, sparsityWeight: 0 },
      ...{ latents: "restart" as const, preserve: ["a dog"] },
    };
    const [student, teacher] = [await run(first), await run({ ...first, sampledBy: "teacher" })];
    const [held, kept] = lossesOf(student).map(({ preserve }) => preserve!);
    expect(held).toBeLessThan(1e-12);
    expect(kept).toBeGreaterThan(1e-6);
    const apart = [0, 1, 2].map((i) => {
      const [own, other] = [student, teacher].map((erasure) => lossesOf(erasure)[i]!["erase"]!);
      return Math.abs(own! / other! - 1);
    });
    expect(apart[0]).toBeLessThan(1e-4);
    expect(Math.max(apart[1]!, apart[2]!)).toBeGreaterThan(1e-3);
    const batch = [new Random(3).normal([1, 4, 16, 16]), 501, await model().encode("church")] as const;
    const moved = relativeError(await student.model.unet.forward(...batch), await model().unet.forward(...batch)); // prettier-ignore
    expect(await moved).toBeGreaterThan(1e-3);
    student.dispose();
    teacher.dispose();
  });

  it("takes less with more weight on what is left", async () => {
    const shares = [];
    for (const sparsityWeight of [0, 1, 100]) {
      const erasure = await run({ sparsityWeight, latents: customLatents(3) }).catch(
        (error: unknown) => error,
      );
      shares.push(erasure instanceof Error ? 0 : lossesOf(erasure as Erasure)[2]!["pruned"]!);
      if (!(erasure instanceof Error)) (erasure as Erasure).dispose();
    }
    expect(shares[0]).toBeGreaterThan(shares[1]!);
    expect(shares[1]).toBeGreaterThan(shares[2]!);
  });

  it("takes a margin that the rates come to, however their sum is rounded, and none beyond", () => {
    const parsed = (margin: number) =>
      parseOptions(prune, { iterations: 10, learningRate: 0.1, margin }, { concepts: ["church"] });
    // Ten times 0.1 is 0.9999999999999999 in float64.
    expect(parsed(1)).toMatchObject({ margin: 1 });
    expect(() => parsed(1.00001)).toThrow(/margin to be at most/);
  });

  it.each<["esd" | "ca", string, object]>([
    ["esd", "priorWeight", { priorWeight: 0.5 }],
    ["esd", "objective", { objective: "noise" }],
    ["esd", "kind", { kind: "style" }],
    ["esd", "augment", { augment: false }],
    ["esd", "guidanceScale", { guidanceScale: 2 }],
    ["esd", "anchor", { target: "castle" }],
    ["ca", "negativeGuidance", { negativeGuidance: 2 }],
    ["ca", "sampledBy", { sampledBy: "teacher" }],
    ["ca", "latents", { latents: "restart" }],
    ["ca", "latents", { latents: customLatents(1) }],
    ["ca", "poolSize", { poolSize: 2 }],
    ["ca", "startGuidance", { startGuidance: 5 }],
    ["ca", "sampling", { sampling: "compvis" }],
  ])("with the loss %s refuses %s, which the other one reads", (loss, name, given) => {
    const other = loss === "ca" ? "esd" : "ca";
    expect(() => parseOptions(prune, { loss, ...given }, { concepts: ["church"] })).toThrow(
      `Expected loss to be "${other}", whose option "${name}" is, but received "${loss}"`,
    );
  });

  it("takes with either loss what both read, and defaults", () => {
    const both = {
      templates: ["a {}"],
      samplingSteps: 9,
      batchSize: 2,
      cacheDirectory: "/tmp/pictures",
      images: 7,
    };
    for (const loss of ["esd", "ca"]) {
      const given = {
        loss,
        ...both,
        priorWeight: 0,
        anchorPrompts: [],
        latents: "pool",
        negativeGuidance: 1,
      };
      expect(parseOptions(prune, given, { concepts: ["church"] })).toMatchObject(both);
    }
  });

  it.each<[string, Partial<PruneOptions>, RegExp]>([
    [
      "a margin that no run this short gets over",
      { margin: 1 },
      /margin to be at most 0\.003, the way that 3 iterations at learningRate lead the logits, but received 1/,
    ],
    ["a margin of 0", { margin: 0 }, /margin to be a number > 0/],
    [
      "an anchor with ESD's loss",
      { anchor: "castle" },
      /loss to be "ca", whose option "anchor" is, but received "esd"/,
    ],
    [
      "captions with ESD's loss",
      { anchorPrompts: ["a castle"] },
      /loss to be "ca", whose option "anchorPrompts" is,/,
    ],
    [
      "a prompt to erase from with CA's",
      { loss: "ca", from: "a car" },
      /loss to be "esd", whose option "from" is, but received "ca"/,
    ],
    [
      "fewer pictures than captions",
      { loss: "ca", images: 1, templates: ["{}", "a {}"] },
      /images to be at least 2/,
    ],
    ["a pool that is smaller than a batch", { batchSize: 3 }, /poolSize to be at least batchSize/],
    [
      "a sparsity that leaves everything",
      { sparsityWeight: 1e6, iterations: 2 },
      /Expected the mask to take some weights but after 2 iterations all have stayed: lower sparsityWeight \(1000000\)/,
    ],
  ])("refuses %s", async (_, options, message) => {
    // prettier-ignore
    await expect(run(options)).rejects.toMatchObject({
      ...INVALID,
      message: expect.stringMatching(message) as string,
    });
  });
});
