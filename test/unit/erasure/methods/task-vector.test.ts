import { noisyLatents } from "../../../../lib/diffusion/noisy-latents";
import { encodePictures } from "../../../../lib/diffusion/picture-latents";
import type { StableDiffusion } from "../../../../lib/diffusion/stable-diffusion";
import { erase } from "../../../../lib/erasure/erase";
import type { Erasure } from "../../../../lib/erasure/erasure";
import { taskVector, type TaskVectorOptions } from "../../../../lib/erasure/methods/task-vector";
import type { TaskVector } from "../../../../lib/erasure/task-vector";
import type { Image } from "../../../../lib/io/image";
import { noGrad } from "../../../../lib/runtime/grad-mode";
import { Random } from "../../../../lib/runtime/random";
import type { Tensor } from "../../../../lib/runtime/tensor";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { tensorHash } from "../../../support/hashes";
import { discPicture } from "../../../support/pictures";
import { temporaryDirectory } from "../../../support/temporary-directory";

describe("task vectors", () => {
  let golden: GoldenModel;
  let pictures: Record<string, Image[]>;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
    const side = golden.model.imageSize;
    pictures = { church: [discPicture(side, side)], dog: [discPicture(side, side, 60)] };
  });
  afterAll(() => golden.dispose());

  const run = (options: Partial<TaskVectorOptions> = {}): Promise<Erasure> => {
    const concepts = options.concepts ?? "church";
    const named = typeof concepts === "string" ? [concepts] : concepts;
    return erase(golden.model, {
      concepts,
      neighbours: "off",
      pictures: Object.fromEntries(named.map((name) => [name, pictures[name]!])),
      seed: 2,
      iterations: 2,
      batchSize: 1,
      learningRate: 1e-3,
      parameters: "xattn-kv",
      ...options,
      method: "task-vector",
    });
  };
  const hashes = async ({ parameters }: TaskVector): Promise<string[]> =>
    Promise.all([...parameters.values()].map(tensorHash));
  const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);

  /** The denoising loss of a model on draws that no training has seen. */
  function loss(model: StableDiffusion, images: Image[]): Promise<number> {
    return noGrad(async () => {
      const { latents } = await encodePictures(model, images);
      const clean = latents.expand([12, ...latents.shape.slice(1)]);
      const { latents: z, noise, timesteps } = noisyLatents(model.schedule, clean, new Random(99));
      const context = (await model.encode("church")).expand([12, 77, 32]);
      return (await model.unet.forward(z, timesteps, context)).mse(noise).item();
    });
  }

  it("goes back by α what fine-tuning went: θ' = θ − Σ α τ, a τ for each concept", async () => {
    const erasure = await run({ concepts: ["church", "dog"], alpha: [0.5, -2] });
    const [a, b] = erasure.taskVectors as [TaskVector, TaskVector];
    expect([a.concepts, b.concepts]).toEqual([["church"], ["dog"]]);
    for (const [key, tau] of a.parameters) {
      const [theta, edited, x, y] = await Promise.all(
        [
          golden.model.unet.parameter(key),
          erasure.model.unet.parameter(key),
          tau,
          b.parameters.get(key)!,
        ].map(numbers),
      );
      edited!.forEach((value, i) => expect(value).toBeCloseTo(theta![i]! - 0.5 * x![i]! + 2 * y![i]!, 6));
    }
    expect(erasure.history).toHaveLength(4);
    erasure.dispose();
  });

  it("leaves a τ for each concept under the names that are told before, if their words are the same too", async () => {
    const concepts = ["red car", "red-car", "🐱", "🐶"];
    const own = Object.fromEntries(concepts.map((name) => [name, pictures["church"]!]));
    const erasure = await run({ concepts, pictures: own, iterations: 1 });
    const names = ["task-vector-red-car", "task-vector-red-car-2", "task-vector", "task-vector-2"];
    expect(erasure.artefacts.map(({ name }) => name)).toEqual(names);
    expect(taskVector.artefacts!(concepts)).toEqual(names);
    expect(erasure.taskVectors.map(({ concepts: of }) => of)).toEqual(concepts.map((name) => [name]));
    erasure.dispose();
  });

  it("finds for a concept the same τ alone and among others", async () => {
    const both = await run({ concepts: ["church", "dog"] });
    const alone = await run({ concepts: "dog" });
    expect(await hashes(both.taskVectors[1]!)).toEqual(await hashes(alone.taskVectors[0]!));
    expect(await hashes(both.taskVectors[0]!)).not.toEqual(await hashes(alone.taskVectors[0]!));
    both.dispose();
    alone.dispose();
  });

  it("fine-tunes towards the pictures: τ added lowers their loss, τ taken off raises it", async () => {
    const erasure = await run({ iterations: 30, captions: [], parameters: "xattn", learningRate: 2e-3 });
    const [tau] = erasure.taskVectors;
    const towards = await tau!.apply(golden.model, { alpha: -1 });
    const before = await loss(golden.model, pictures["church"]!);
    expect(await loss(towards, pictures["church"]!)).toBeLessThan(before - 0.01);
    expect(await loss(erasure.model, pictures["church"]!)).toBeGreaterThan(before + 0.01);
    towards.dispose();
    erasure.dispose();
  });

  it("is the model that its τ gives at the same α, without training again", async () => {
    const erasure = await run({ alpha: 1.5 });
    const applied = await erasure.taskVectors[0]!.apply(golden.model, { alpha: 1.5 });
    for (const key of erasure.taskVectors[0]!.parameters.keys())
      expect(await tensorHash(applied.unet.parameter(key))).toBe(
        await tensorHash(erasure.model.unet.parameter(key)),
      );
    applied.dispose();
    erasure.dispose();
  });

  it("trains under other captions than the concept's, if asked", async () => {
    const unasked = await run();
    const named = await run({ captions: [] });
    const same = await run({ captions: ["{}"] });
    expect(await hashes(same.taskVectors[0]!)).toEqual(await hashes(named.taskVectors[0]!));
    expect(await hashes(unasked.taskVectors[0]!)).not.toEqual(await hashes(named.taskVectors[0]!));
    for (const erasure of [unasked, named, same]) erasure.dispose();
  });

  it("holds preserved prompts in place while it fine-tunes", async () => {
    const held = await run({ preserve: ["a photo"] });
    const free = await run();
    expect(held.history[1]!.losses["preserve"]).toBeGreaterThan(0);
    expect(await hashes(held.taskVectors[0]!)).not.toEqual(await hashes(free.taskVectors[0]!));
    held.dispose();
    free.dispose();
  });

  it("makes pictures where none are given, and finds them again", async () => {
    const cacheDirectory = temporaryDirectory();
    const made: number[] = [];
    const options = { pictures: {}, images: 2, samplingSteps: 2, cacheDirectory };
    const first = await run({ ...options, onPrepare: ({ done }) => made.push(done) });
    const again = await run(options);
    expect(made.at(-1)).toBe(2);
    expect(first.manifest.unetEvaluations).toBeGreaterThan(again.manifest.unetEvaluations);
    expect(await hashes(again.taskVectors[0]!)).toEqual(await hashes(first.taskVectors[0]!));
    first.dispose();
    again.dispose();
  });

  it("resumes behind the first of two concepts to the bits of a whole run", async () => {
    const concepts = ["church", "dog"];
    const whole = await run({ concepts });
    const checkpoint = { directory: temporaryDirectory(), every: 1 };
    const controller = new AbortController();
    const onStep = ({ iteration }: { iteration: number }): void => {
      if (iteration === 3) controller.abort();
    };
    await expect(run({ concepts, checkpoint, onStep, signal: controller.signal })).rejects.toMatchObject({
      code: "ABORTED",
    });
    const resumed = await run({ concepts, checkpoint, resume: true });
    for (const index of [0, 1])
      expect(await hashes(resumed.taskVectors[index]!)).toEqual(await hashes(whole.taskVectors[index]!));
    whole.dispose();
    resumed.dispose();
  });

  it("says in the manifest which pictures were given, not what they hold", async () => {
    const erasure = await run({ iterations: 1 });
    const [text] = (erasure.manifest.options["pictures"] as Record<string, string[]>)["church"]!;
    expect(text).toMatch(/^picture \d+ × \d+ [0-9a-f]{64}$/);
    erasure.dispose();
  });

  it.each<[string, object, RegExp]>([
    ["an α that is no number", { alpha: NaN }, /alpha/],
    [
      "more α than concepts",
      { alpha: [1, 2] },
      /alpha to be one value or 1, one for each concept, but received 2/,
    ],
    ["pictures of another concept", { pictures: { dog: [] } }, /pictures to be pictures of "church"/],
    ["an empty list of pictures", { pictures: { church: [] } }, /images to be a non-empty list/],
    ["pictures in a list", { pictures: [] }, /pictures/],
    ["no pictures to make", { images: 0 }, /images/],
    ["templates without a place", { templates: ["a"] }, /template/],
    ["captions in one string", { captions: "a" }, /captions/],
    ["more steps than the schedule has", { samplingSteps: 1001 }, /samplingSteps/],
    ["no gradient norm", { maxGradientNorm: 0 }, /maxGradientNorm/],
    ["a search without a score", { alpha: { threshold: 0.5 } }, /alpha.score/],
    ["an unknown option of the search", { alpha: { scores: 1 } }, /"scores" in alpha/],
    ["an option of another method", { neutral: "x" }, /"neutral"/],
  ])("refuses %s, naming the option", async (_, options, message) => {
    await expect(run(options)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });
});
