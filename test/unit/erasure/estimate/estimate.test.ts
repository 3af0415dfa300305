import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { estimate, type Estimate } from "../../../../lib/erasure/estimate/estimate";
import { erase } from "../../../../lib/erasure/erase";
import { METHOD_NAMES, methodNamed, type EraseOptions } from "../../../../lib/erasure/registry";
import * as safetensors from "../../../../lib/io/safetensors";
import { pocket } from "../../../support/golden";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { shortOptions } from "../../../support/method-contract";
import { weightHashes } from "../../../support/hashes";

/** More than an estimate takes of any kind, so that some are left out. */
const MANY = 11;

describe("estimate", () => {
  let golden: GoldenModel;
  let folder: string;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
    folder = await mkdtemp(join(tmpdir(), "kpop-estimate-"));
  });
  afterAll(async () => {
    await golden.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  function options(name: string, more: object = {}): EraseOptions {
    const method = methodNamed(name);
    const holds = method.kind !== "inference" || method.holds !== undefined;
    const held = holds ? { neighbours: { words: ["dog", "house"] } } : {};
    const own = shortOptions(name, join(folder, name));
    return { method: name, concepts: "church", seed: 5, ...own, ...held, ...more } as EraseOptions;
  }

  it.each(METHOD_NAMES)(
    "counts the evaluations and iterations that %s spends, and writes nothing",
    async (name) => {
      const before = await weightHashes(golden.model.unet);
      const found = await estimate(golden.model, options(name));
      expect(await readdir(folder)).not.toContain(name);
      expect(await weightHashes(golden.model.unet)).toEqual(before);
      const erasure = await erase(golden.model, options(name));
      const { unetEvaluations, iterations, changedParameters } = erasure.manifest;
      erasure.dispose();
      expect(found.time).toMatchObject({ unetEvaluations, iterations });
      expect(found.changedParameters).toBe(changedParameters);
      expect(found.leftOut).toEqual([]);
    },
  );

  it.each([
    [
      "of several concepts, batched, with adversarial neighbours",
      "kpop",
      {
        concepts: ["church", "dog"],
        batchSize: 2,
        iterations: MANY,
        neighbours: { choose: "adversarial", words: ["tree", "house"] },
      },
    ],
    [
      "of new trajectories for each iteration",
      "esd",
      { latents: "restart", preserve: ["fish"], iterations: MANY },
    ],
    [
      "of unguided trajectories by the teacher",
      "esd",
      { startGuidance: 1, sampledBy: "teacher", iterations: MANY },
    ],
    ["of an attack that begins half-way", "race", { iterations: 2 * MANY }],
    ["of a LoRA", "sdd", { as: "lora", rank: 2, iterations: MANY }],
    [
      "of several concepts, one after the other",
      "task-vector",
      { concepts: ["church", "dog"], iterations: MANY },
    ],
  ])("counts evaluations %s", async (_what, name, more) => {
    const found = await estimate(golden.model, options(name, more));
    const erasure = await erase(golden.model, options(name, more));
    expect(found.time?.unetEvaluations).toBe(erasure.manifest.unetEvaluations);
    erasure.dispose();
  });

  it("counts no pictures that are there already", async () => {
    const drawn = options("ca", { cacheDirectory: join(folder, "kept") });
    const evaluations = (found: Estimate): number => found.time!.unetEvaluations;
    const anew = evaluations(await estimate(golden.model, drawn));
    (await erase(golden.model, drawn)).dispose();
    const found = evaluations(await estimate(golden.model, drawn));
    const again = await erase(golden.model, drawn);
    expect(found).toBe(again.manifest.unetEvaluations);
    expect(found).toBeLessThan(anew);
    again.dispose();
  });

  it("has the bytes of what is trained by the shapes in the checkpoint's file", async () => {
    await using file = await safetensors.open(pocket("unet", "diffusion_pytorch_model.safetensors"));
    const elements = (pattern: RegExp): number =>
      [...file.shapes]
        .filter(([name]) => pattern.test(name))
        .reduce((sum, [, shape]) => sum + shape.reduce((a, b) => a * b, 1), 0);
    const all = 4 * elements(/./);
    const { memory } = await estimate("pocket", { method: "esd", concepts: "church", iterations: 1 });
    const trained = 4 * elements(/attn2/);
    expect(memory.parts).toMatchObject({ masters: trained, moments: 2 * trained, gradients: trained });
    const { mappedWeights, copiedWeights } = memory.parts;
    expect(mappedWeights + copiedWeights).toBeGreaterThan(all);
    const sum = Object.values<number>({ ...memory.parts }).reduce((a, b) => a + b, 0);
    expect(memory.peakBytes).toBe(sum);
  });

  it("grows by a graph's activations with the batch, and by no other part that is trained", async () => {
    const parts = async (batchSize: number) =>
      (await estimate(golden.model, options("esd", { batchSize, poolSize: 4, iterations: 1 }))).memory.parts;
    const [one, four] = [await parts(1), await parts(4)];
    expect(four.activations).toBe(4 * one.activations);
    expect(four).toMatchObject({ masters: one.masters, moments: one.moments, gradients: one.gradients });
  });

  it("names what nobody knows before, and does not call it", async () => {
    let called = 0;
    const validate = (): number => ++called;
    const { leftOut } = await estimate(golden.model, options("rece", { validate }));
    const alpha = { score: () => 0, threshold: 0 };
    const search = await estimate(golden.model, options("task-vector", { alpha }));
    expect([leftOut, search.leftOut]).toEqual([["validate"], ["alpha"]]);
    expect(called).toBe(0);
  });

  it("leaves latents of the caller's own untaken", async () => {
    let taken = 0;
    async function* latents(): AsyncGenerator<never> {
      taken += 1;
      await Promise.resolve();
      throw new Error("taken");
    }
    const { time, leftOut } = await estimate(golden.model, options("esd", { latents: latents() }));
    expect(leftOut).toEqual(["latents"]);
    expect(time!.iterations).toBe(3);
    expect(taken).toBe(0);
  });

  it("refuses what a run refuses, and stops on abort", async () => {
    await expect(estimate(golden.model, options("esd", { iterations: 0 }))).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await expect(
      estimate(golden.model, options("kpop", { prompt: { layers: ["nowhere"] } })),
    ).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const signal = AbortSignal.abort();
    await expect(estimate(golden.model, options("esd", { signal }))).rejects.toMatchObject({
      code: "ABORTED",
    });
  });
});
