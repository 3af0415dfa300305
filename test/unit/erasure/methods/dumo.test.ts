import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { dumoEraser, newEraser } from "../../../../lib/diffusion/interventions/dumo";
import { tapsOf, type Intervention } from "../../../../lib/diffusion/interventions/intervention";
import { StableDiffusion } from "../../../../lib/diffusion/stable-diffusion";
import { erase } from "../../../../lib/erasure/erase";
import type { Erasure } from "../../../../lib/erasure/erasure";
import type { DumoOptions } from "../../../../lib/erasure/methods/dumo";
import type { CustomLatents } from "../../../../lib/erasure/shared/custom-source";
import * as safetensors from "../../../../lib/io/safetensors";
import { noGrad } from "../../../../lib/runtime/grad-mode";
import { Random } from "../../../../lib/runtime/random";
import { Tensor } from "../../../../lib/runtime/tensor";
import { relativeError } from "../../../support/compare";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { tensorHash } from "../../../support/hashes";
import { temporaryDirectory } from "../../../support/temporary-directory";
import { expectLosses } from "../../../support/training-trials";

const expected = JSON.parse(
  readFileSync(join(__dirname, "..", "..", "..", "fixtures", "dumo", "reference.json"), "utf8"),
) as {
  timesteps: number[];
  drawn: number[][];
  trained: { losses: { erase: number; preserve: number }[]; scales: number[]; noise: number[] };
} & Record<"iterations" | "learningRate" | "modulationLearningRate" | "preserveWeight", number>;
// The reference computes in float64, this in float32; the error is relative to the largest element.
const OUTPUT = 2e-5;
// Adam turns a gradient's sign into a step: where it is as small as float32's noise, an element goes the other way.
const AFTER_ADAM = 1e-3;

const latents = (item: number): Tensor => new Random(3100 + item).normal([1, 4, 8, 8]);

describe("DuMo", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());

  const fresh = (): Promise<Map<string, Tensor>> => newEraser(golden.model, { parts: 20, byLayer: true });
  const settings = { concepts: ["church"], timesteps: 1000 };

  /** Outputs, and coefficients where they are not 1, by draws of a seed. */
  async function drawn(seed: number, scales?: Tensor): Promise<Map<string, Tensor>> {
    const tensors = await fresh();
    for (const [name, tensor] of tensors) {
      const [, i, part] = /^outputs\.(\d+)\.(weight|bias)$/.exec(name) ?? [];
      if (i === undefined) continue;
      const draws = new Random(seed + 2 * Number(i) + (part === "bias" ? 1 : 0)).normal(tensor.shape);
      await tensor.copyFrom(draws.mul(0.05));
    }
    if (scales !== undefined) await tensors.get("scales")!.copyFrom(scales);
    return tensors;
  }
  const eraser = (tensors: ReadonlyMap<string, Tensor>): Intervention => dumoEraser(settings, tensors);

  async function predicted(timestep: number, ...by: Intervention[]): Promise<Tensor> {
    const model = golden.model.withInterventions(by);
    const concept = await model.condition(["church"]);
    return noGrad(() => model.predict({ latents: latents(0), timesteps: timestep }, concept));
  }

  it("changes no bit before it is trained, nor where its coefficients are 0", async () => {
    const bare = await tensorHash(await predicted(501));
    expect(await tensorHash(await predicted(501, eraser(await fresh())))).toBe(bare);
    expect(await tensorHash(await predicted(501, eraser(await drawn(3200))))).not.toBe(bare);
    const off = eraser(await drawn(3200, Tensor.zeros([20, 7])));
    expect(await tensorHash(await predicted(501, off))).toBe(bare);
    const image = async (model: StableDiffusion) =>
      (await model.generate("church", { steps: 2, guidanceScale: 3 }))[0]!.data;
    expect(await image(golden.model.withInterventions([eraser(await fresh())]))).toEqual(
      await image(golden.model),
    );
  });

  it("adds what diffusers' ControlNet adds, by the coefficients of the timestep and of each layer", async () => {
    const scales = new Random(3300).normal([20, 7]);
    const by = eraser(await drawn(3200, scales));
    for (const [i, timestep] of [49, 50, 999].entries()) {
      const reference = Tensor.from(expected.drawn[i]!, [1, 4, 8, 8]);
      expect(await relativeError(await predicted(timestep, by), reference)).toBeLessThan(OUTPUT);
    }
  });

  it("takes the coefficients of a row for its 50 timesteps alone, and item by item", async () => {
    const scales = Float32Array.from({ length: 140 }, (_, i) => (Math.floor(i / 7) === 3 ? 0 : 1));
    const by = eraser(await drawn(3200, Tensor.from(scales, [20, 7])));
    const same = async (timestep: number): Promise<boolean> =>
      (await tensorHash(await predicted(timestep))) === (await tensorHash(await predicted(timestep, by)));
    expect(await Promise.all([149, 150, 199, 200].map(same))).toEqual([false, true, true, false]);
    const model = golden.model.withInterventions([by]);
    const concept = await model.condition(["church", "church"]);
    const z = Tensor.cat([latents(0), latents(0)]);
    const both = await noGrad(() => model.predict({ latents: z, timesteps: [150, 200] }, concept));
    for (const [i, timestep] of [150, 200].entries())
      expect(await relativeError(both.slice(0, i, i + 1), await predicted(timestep, by))).toBeLessThan(
        OUTPUT,
      );
  });

  it("adds beside another of its kind: the skip connections get both", async () => {
    const [one, other] = [eraser(await drawn(3200)), eraser(await drawn(3400))];
    const { unet } = golden.model;
    const { context } = await golden.model.condition(["church"]);
    const input = { unet, latents: latents(0), timesteps: [501], context };
    await noGrad(async () => {
      const [a, b, both] = [
        await tapsOf([one], input),
        await tapsOf([other], input),
        await tapsOf([one, other], input),
      ];
      expect(Object.keys(both!)).toEqual([
        ...[0, 1, 2, 3, 4, 5].map((skip) => `skips.${skip}`),
        "mid_block.resnets.1",
      ]);
      const outputs = await unet.activations(latents(0), 501, context, Object.keys(both!));
      for (const [site, output] of outputs) {
        const zero = output.mul(0);
        const added = async (taps: typeof a): Promise<Tensor> => (await taps![site]!(zero)) as Tensor;
        const sum = output.add(await added(a)).add(await added(b));
        expect(await relativeError((await both![site]!(output)) as Tensor, sum)).toBeLessThan(OUTPUT);
        expect(
          await (
            await added(a)
          )
            .sub(await added(b))
            .abs()
            .sum()
            .item(),
        ).toBeGreaterThan(0);
      }
    });
  });

  async function* given(): AsyncGenerator<CustomLatents> {
    for (const [item, timestep] of expected.timesteps.entries()) yield { latents: latents(item), timestep };
  }
  const run = (options: Partial<DumoOptions> = {}): Promise<Erasure> =>
    erase(golden.model, {
      ...{ concepts: "church", neighbours: "off", seed: 4, iterations: 2, modulationIterations: 2 },
      ...{ samplingSteps: 4, poolSize: 2, ...options, method: "dumo" },
    });
  const tensorsOf = ({ model }: Erasure): ReadonlyMap<string, Tensor> => model.interventions[0]!.tensors!;

  it("trains the copy, then the coefficients, as PyTorch does", async () => {
    const { iterations, learningRate, modulationLearningRate, preserveWeight, timesteps } = expected;
    const erasure = await run({
      ...{ iterations, learningRate, modulationLearningRate, preserveWeight },
      modulationIterations: timesteps.length - iterations,
      preserve: ["a photo of a dog"],
      latents: given(),
    });
    expectLosses(erasure, expected.trained.losses);
    const scales = tensorsOf(erasure).get("scales")!;
    expect(await relativeError(scales, Tensor.from(expected.trained.scales, [20, 7]))).toBeLessThan(
      AFTER_ADAM,
    );
    const concept = await erasure.model.condition(["church"]);
    const noise = await noGrad(() => erasure.model.predict({ latents: latents(9), timesteps: 750 }, concept));
    expect(await relativeError(noise, Tensor.from(expected.trained.noise, [1, 4, 8, 8]))).toBeLessThan(
      AFTER_ADAM,
    );
    erasure.dispose();
  });

  it.each([
    ["time-layer", [20, 7], 4],
    ["time", [20, 1], 4],
    ["layer", [1, 7], 4],
    ["off", [1, 1], 2],
  ] as const)(
    "with the modulation %s has coefficients of shape %j",
    async (modulation, shape, iterations) => {
      const erasure = await run({ modulation });
      const scales = tensorsOf(erasure).get("scales")!;
      expect(scales.shape).toEqual(shape);
      expect(erasure.history).toHaveLength(iterations);
      const moved = await scales.sub(1).abs().sum().item();
      if (modulation === "off") expect(moved).toBe(0);
      else expect(moved).toBeGreaterThan(0);
      erasure.dispose();
    },
  );

  it("looks for the neighbours that are harmed most, through the eraser", async () => {
    const erasure = await run({
      ...{ neighbours: { choose: "adversarial", words: ["dog", "house", "fish"] }, iterations: 2 },
      ...{ learningRate: 1e-2, modulation: "off" },
    });
    const harm = erasure.history.map(({ losses }) => losses["harm"]!);
    expect(harm).toHaveLength(2);
    for (const loss of harm) expect(loss).toBeGreaterThan(0);
    erasure.dispose();
  });

  it("draws the same whether weights are mapped, which are laid out at their first use, or copied", async () => {
    const erasure = await run({ iterations: 1, learningRate: 1e-2, modulation: "off" });
    const folder = join(temporaryDirectory(), "mapped");
    await erasure.save(folder);
    erasure.dispose();
    const [mapped, copied] = await Promise.all(
      [true, false].map((map) => StableDiffusion.load(folder, { device: "cpu", mapped: map })),
    );
    const noisy = new Random(1).normal([2, 4, 8, 8]);
    const condition = await copied!.condition(["church", "dog"]);
    const batch = { latents: noisy, timesteps: [500, 20] };
    const [one, other] = await Promise.all(
      [mapped!, copied!].map(async (each) => (await each.predict(batch, condition)).bytes()),
    );
    expect(one).toEqual(other);
    // What the eraser's copy was put in the place of is laid out all the same.
    const bare = await Promise.all(
      [mapped!, copied!].map(async (each) =>
        (await each.withInterventions([]).predict(batch, condition)).bytes(),
      ),
    );
    expect(bare[0]).toEqual(bare[1]);
    for (const each of [mapped!, copied!]) each.dispose();
  });

  it("holds neighbours as methods that change weights do, and lives apart from the model it came from", async () => {
    const erasure = await run({
      ...{ neighbours: { words: ["dog", "house"] }, sampledBy: "teacher" },
      ...{ iterations: 1, learningRate: 1e-2, modulation: "off" },
    });
    expect([...erasure.manifest.neighbours].sort()).toEqual(["dog", "house"]);
    expect(Object.keys(erasure.history[0]!.losses)).toEqual(["erase", "preserve"]);
    const drawing = { steps: 1, guidanceScale: 1, seed: 1 };
    const [before] = await erasure.model.generate("church", drawing);
    const folder = join(temporaryDirectory(), "saved");
    await erasure.save(folder);
    erasure.dispose();
    // The one is freed, and the other draws still, as it did.
    expect((await golden.model.generate("church", drawing))[0]!.data).not.toEqual(before!.data);
    const loaded = await StableDiffusion.load(folder, { device: "cpu" });
    expect((await loaded.generate("church", drawing))[0]!.data).toEqual(before!.data);
    loaded.dispose();
    const path = join(folder, "kpop-interventions.safetensors");
    const stored = await safetensors.load(path, { mapped: false });
    stored.delete("0.outputs.6.bias");
    await safetensors.save(path, stored);
    await expect(StableDiffusion.load(folder, { device: "cpu" })).rejects.toMatchObject({
      code: "INVALID_CHECKPOINT",
      message: expect.stringMatching(/"dumo".*outputs\.6\.bias to be of shape \[64\]/) as string,
    });
    const list = join(folder, "kpop-interventions.json");
    writeFileSync(list, readFileSync(list, "utf8").replace(/"timesteps": \d+/, '"timesteps": 0'));
    await expect(StableDiffusion.load(folder, { device: "cpu" })).rejects.toMatchObject({
      code: "INVALID_CHECKPOINT",
      message: expect.stringMatching(/timesteps/) as string,
    });
  });
});
