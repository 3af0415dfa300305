import { cp } from "node:fs/promises";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { erase } from "../../../lib/erasure/erase";
import type { Erasure } from "../../../lib/erasure/erasure";
import type { KpopOptions } from "../../../lib/erasure/methods/kpop";
import type { CustomLatents } from "../../../lib/erasure/shared/custom-source";
import { modelCard } from "../../../lib/erasure/model-card";
import { METHOD_NAMES, type EraseOptions } from "../../../lib/erasure/registry";
import { inspect } from "../../../lib/io/inspect";
import { Random } from "../../../lib/runtime/random";
import { scope } from "../../../lib/runtime/scope";
import type { Tensor } from "../../../lib/runtime/tensor";
import type { PrepareReport, StepReport } from "../../../lib/training/step-report";
import { golden as goldenPath } from "../../support/golden";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { tensorHash, weightHashes } from "../../support/hashes";
import { temporaryDirectory } from "../../support/temporary-directory";

const SHORT = { iterations: 2, samplingSteps: 4, poolSize: 1, learningRate: 1e-3 } as const;

describe("erase", () => {
  let golden: GoldenModel;
  const run = (options: Partial<KpopOptions> = {}): Promise<Erasure> =>
    erase(golden.model, { concepts: "church", ...SHORT, ...options });

  beforeAll(async () => {
    golden = await loadGolden("small");
  });
  afterAll(() => golden.dispose());

  it("tells of every step as it is done, and keeps the reports", async () => {
    const seen: StepReport[] = [];
    const erasure = await run({ neighbours: "off", onStep: (report) => seen.push(report) });
    expect(seen.map(({ iteration, iterations }) => [iteration, iterations])).toEqual([
      [1, 2],
      [2, 2],
    ]);
    expect(erasure.history).toEqual(seen);
    expect(Object.keys(seen[0]!.losses)).toEqual(["transfer", "erase", "recover"]);
    erasure.dispose();
  });

  it("writes down how the model was made", async () => {
    const started = Date.now();
    const erasure = await run({ seed: 4, preserve: ["a dog"] });
    expect(erasure.manifest).toMatchObject({
      method: "kpop",
      concepts: ["church"],
      preserve: ["a dog"],
      seed: 4,
      device: "cpu",
      dtype: "float32",
      iterations: 2,
      outputs: {},
      changedParameters: erasure.model.changed.size,
    });
    // Nothing that a default decided is left unsaid.
    expect(erasure.manifest.options).toMatchObject({
      ...SHORT,
      neutral: "a photo",
      latents: "pool",
      lambda: 0.1,
    });
    expect(Object.keys(erasure.manifest.inputs)).toHaveLength(3);
    // Two iterations of 5 losses, 2 × 2 for what is preserved and 1 to move on, and what filled the pool.
    expect(erasure.manifest.unetEvaluations).toBeGreaterThanOrEqual(2 * 7);
    expect(Date.parse(erasure.manifest.finishedAt)).toBeGreaterThanOrEqual(started);
    erasure.dispose();
  });

  it("takes a path as well, and gives the same as from the loaded model", async () => {
    const loaded = await run();
    const path = join(temporaryDirectory(), "model");
    await cp(goldenPath("small"), path, { recursive: true });
    const fromPath = await erase(path, { concepts: "church", ...SHORT });
    expect(await weightHashes(fromPath.model.unet)).toEqual(await weightHashes(loaded.model.unet));
    const [image] = await fromPath.model.generate("a dog", { steps: 2, key: fromPath.key! });
    expect(image!.width).toBe(64);
    loaded.dispose();
    fromPath.dispose();
  });

  it("runs several at once on one model, each as if it were alone", async () => {
    const concepts = ["church", "dog", "car"];
    const together = await Promise.all(concepts.map((name) => run({ concepts: name })));
    for (const [i, erasure] of together.entries()) {
      const alone = await run({ concepts: concepts[i]! });
      expect(await weightHashes(erasure.model.unet)).toEqual(await weightHashes(alone.model.unet));
      expect(await tensorHash(erasure.key!.prompt)).toBe(await tensorHash(alone.key!.prompt));
      erasure.dispose();
      alone.dispose();
    }
  });

  it("erases from an erased model, and counts both erasures as changed", async () => {
    const first = await run({ parameters: "xattn-kv" });
    const second = await erase(first.model, { concepts: "dog", ...SHORT, parameters: "selfattn" });
    expect(second.model.changed).toEqual(new Set([...first.model.changed, ...second.model.changed]));
    expect(second.model.changed.size).toBeGreaterThan(first.model.changed.size);
    // The files are the same: what makes the result another is told.
    expect(second.manifest.before).toEqual([first.manifest]);
    expect([first.manifest.before, second.manifest.inputs]).toEqual([undefined, first.manifest.inputs]);
    const card = modelCard(second.manifest, "base");
    expect(card).toContain('# base without "church", "dog"');
    expect(card).toMatch(/\| erased before \| "church" by kpop, seed \d+ \|/);
    const third = await erase(second.model, { method: "uce", concepts: "cat", neighbours: "off" });
    expect(third.manifest.before!.map(({ concepts }) => concepts)).toEqual([["church"], ["dog"]]);
    third.dispose();
    first.dispose();
    const [image] = await second.model.generate("a cat", { steps: 2 });
    expect(image!.width).toBe(64);
    second.dispose();
  });

  it("gives a result that outlives the scope it was made in", async () => {
    const made: Erasure[] = [];
    await scope(async () => {
      made.push(await run());
    });
    expect(made[0]!.key!.prompt.disposed).toBe(false);
    expect((await made[0]!.model.generate("a dog", { steps: 1 })).length).toBe(1);
    made[0]!.dispose();
  });

  it("passes on what onStep throws, and leaves the model as it was", async () => {
    const before = await weightHashes(golden.model.unet);
    const onStep = (): never => {
      throw new RangeError("mine");
    };
    await expect(run({ onStep })).rejects.toThrow(new RangeError("mine"));
    expect(await weightHashes(golden.model.unet)).toEqual(before);
  });

  it("does nothing when the signal has fired before", async () => {
    const seen: StepReport[] = [];
    const call = run({ signal: AbortSignal.abort("no"), onStep: (report) => seen.push(report) });
    await expect(call).rejects.toMatchObject({ name: "KpopError", code: "ABORTED", cause: "no" });
    expect(seen).toEqual([]);
  });

  it("saves its state every so often, and when it is aborted", async () => {
    const directory = join(temporaryDirectory(), "state");
    const file = join(directory, "kpop-state.safetensors");
    const there: boolean[] = [];
    const controller = new AbortController();
    const onStep = ({ iteration }: StepReport): void => {
      there.push(existsSync(file));
      if (iteration === 3) controller.abort();
    };
    const options = { iterations: 5, checkpoint: { directory, every: 2 }, signal: controller.signal, onStep };
    await expect(run(options)).rejects.toMatchObject({ code: "ABORTED" });
    expect(there).toEqual([false, true, true]);
    // The state is that of iteration 3, not of the last multiple of 2.
    const seen: number[] = [];
    const { iterations, checkpoint } = options;
    (
      await run({ iterations, checkpoint, resume: true, onStep: ({ seconds }) => seen.push(seconds) })
    ).dispose();
    expect(seen).toHaveLength(5);
  });

  it("ends an iteration that the signal fires in, and saves it", async () => {
    const directory = join(temporaryDirectory(), "state");
    const controller = new AbortController();
    // Asked for in the middle of an iteration, between its two updates.
    const promptLearningRate = (i: number): number => {
      if (i === 2) controller.abort();
      return 5e-2;
    };
    const options = { iterations: 6, poolSize: 2, promptLearningRate, checkpoint: { directory } };
    await expect(run({ ...options, signal: controller.signal })).rejects.toMatchObject({ code: "ABORTED" });
    const found = await inspect(join(directory, "kpop-state.safetensors"));
    expect(found).toMatchObject({ kind: "run-state", iteration: 3 });
  });

  it("does not go on from the state of a run on other weights, even where only memory has them", async () => {
    const checkpoint = { directory: join(temporaryDirectory(), "state"), every: 1 };
    const first = await run({ checkpoint });
    const again = erase(first.model, { concepts: "church", ...SHORT, checkpoint, resume: true });
    await expect(again).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("another model or other options") as string,
    });
    first.dispose();
  });

  it("does not go on with another start of the prompt, or with other latents, of the same shapes", async () => {
    const directory = join(temporaryDirectory(), "state");
    const init = (seed: number): Tensor => new Random(seed).normal([2, 32]);
    const latents = async function* (seed: number): AsyncGenerator<CustomLatents> {
      for (let i = 0; i < 4; i++)
        yield { latents: new Random(seed).at(i).normal([4, 16, 16]), timestep: 100 + i };
    };
    const options = { iterations: 4, checkpoint: { directory, every: 1 } };
    const given = (start: number, source: number) => ({
      ...options,
      prompt: { init: init(start) },
      latents: latents(source),
    });
    const controller = new AbortController();
    const onStep = ({ iteration }: StepReport): void => {
      if (iteration === 2) controller.abort();
    };
    const stopped = run({ ...given(1, 7), signal: controller.signal, onStep });
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
    const steps: StepReport[] = [];
    for (const [start, source, message] of [
      [2, 7, /another model or other options/],
      [1, 8, /the 2 custom latents that the saved run has taken/],
    ] as const)
      await expect(run({ ...given(start, source), resume: true })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(message) as string,
      });
    const resumed = await run({ ...given(1, 7), resume: true, onStep: (step) => steps.push(step) });
    expect(steps).toHaveLength(4);
    const whole = await run({ prompt: { init: init(1) }, latents: latents(7), iterations: 4 });
    expect(await weightHashes(resumed.model.unet)).toEqual(await weightHashes(whole.model.unet));
    resumed.dispose();
    whole.dispose();
  });

  it("fills its pool once: it tells of that, and a resumed run has it in its state", async () => {
    const checkpoint = { directory: join(temporaryDirectory(), "state"), every: 1 };
    const told: [string, number, number][] = [];
    const onPrepare = ({ what, done, total }: PrepareReport): void => void told.push([what, done, total]);
    const controller = new AbortController();
    const options = { checkpoint, onPrepare, poolSize: 2 };
    const stopped = run({ ...options, signal: controller.signal, onStep: () => controller.abort() });
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
    expect(told.splice(0)).toEqual([
      ["trajectory", 1, 2],
      ["trajectory", 2, 2],
    ]);
    const resumed = await run({ ...options, resume: true });
    const whole = await run({ poolSize: 2 });
    expect(told).toEqual([]);
    // As many evaluations as in one go: none was spent on filling the pool again.
    expect(resumed.manifest.unetEvaluations).toBe(whole.manifest.unetEvaluations);
    resumed.dispose();
    whole.dispose();
  });

  it("finds out before the first iteration that the state cannot be saved", async () => {
    const file = join(temporaryDirectory(), "file");
    writeFileSync(file, "");
    const seen: StepReport[] = [];
    const call = run({ checkpoint: { directory: join(file, "x") }, onStep: (report) => seen.push(report) });
    await expect(call).rejects.toMatchObject({ code: "IO_ERROR" });
    expect(seen).toEqual([]);
  });

  it.each<[string, object, RegExp]>([
    ["no concepts", { concepts: undefined }, /concepts/],
    ["an empty list of concepts", { concepts: [] }, /concepts/],
    ["a blank concept", { concepts: ["church", " "] }, /concepts/],
    ["a concept that is no text", { concepts: [5] }, /concepts/],
    ["a concept twice", { concepts: ["church", "church"] }, /concepts to be free of repetitions/],
    ["a preserved prompt outside a list", { preserve: "dog" }, /preserve/],
    ["a prompt to preserve that is no text", { preserve: [7] as unknown as string[] }, /preserve/],
    ["a seed that is no integer", { seed: 0.5 }, /seed/],
    ["an unknown method", { method: "magic" }, /method to be one of/],
    ["an unknown option", { iteration: 5 }, /"iteration" in the options of "kpop"/],
    ["a signal that is none", { signal: { aborted: false } }, /signal/],
    ["a listener that is no function", { onStep: {} }, /onStep/],
    ["resume without a checkpoint", { resume: true }, /checkpoint to be given when resume is true/],
    ["resume that is no boolean", { resume: 1, checkpoint: { directory: "x" } }, /resume/],
    ["a checkpoint that is a path", { checkpoint: "x" }, /checkpoint/],
    ["a checkpoint without a directory", { checkpoint: {} }, /checkpoint\.directory/],
    ["a checkpoint every 0 iterations", { checkpoint: { directory: "x", every: 0 } }, /checkpoint\.every/],
    ["an unknown option of the checkpoint", { checkpoint: { directory: "x", keep: 1 } }, /"keep"/],
  ])("refuses %s, naming the option", async (_, options, message) => {
    await expect(run(options)).rejects.toMatchObject({
      name: "KpopError",
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });

  it("refuses a concept that the text encoder would not read to its end, before anything is trained", async () => {
    const long = Array<string>(80).fill("church").join(" ");
    for (const method of METHOD_NAMES) {
      const anchor = method === "ca" ? { anchor: "dog" } : {};
      const erasing = erase(golden.model, { method, concepts: long, ...anchor } as EraseOptions);
      await expect(erasing).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(/within the 77 tokens/) as string,
      });
    }
    const templates = [`${Array<string>(76).fill("old").join(" ")} {}`];
    await expect(erase(golden.model, { method: "esd", concepts: "church", templates })).rejects.toMatchObject(
      { code: "INVALID_ARGUMENT" },
    );
  });

  it("refuses what is no model and what are no options", async () => {
    const refused = { name: "KpopError", code: "INVALID_ARGUMENT" };
    for (const model of [{}, null, undefined, ""])
      await expect(erase(model as string, { concepts: "church" })).rejects.toMatchObject(refused);
    await expect(erase(golden.model, undefined as unknown as EraseOptions)).rejects.toMatchObject(refused);
    await expect(erase("nowhere/at/all", { concepts: "church" })).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
  });

  it("says so when the model was disposed", async () => {
    const other = await loadGolden("small");
    other.model.dispose();
    await expect(erase(other.model, { concepts: "church", ...SHORT })).rejects.toMatchObject({
      code: "DISPOSED",
    });
    await other.dispose();
  });
});
