import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { attack } from "../../../../lib/attack/attack";
import type { AttackInput } from "../../../../lib/attack/input";
import type { AttackParts } from "../../../../lib/attack/job";
import { tina, type TinaOptions } from "../../../../lib/attack/methods/tina";
import { sldGuidance, SLD_PRESETS } from "../../../../lib/diffusion/interventions/sld";
import { Image } from "../../../../lib/io/image";
import * as safetensors from "../../../../lib/io/safetensors";
import { complete, fit } from "../../../../lib/options/option";
import { Tensor } from "../../../../lib/runtime/tensor";
import type { RunOptions } from "../../../../lib/training/run-options";
import type { StepReport } from "../../../../lib/training/step-report";
import { attackJob } from "../../../support/attack-job";
import { BrightnessClassifier, redness } from "../../../support/brightness-classifier";
import { relativeError } from "../../../support/compare";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { tensorHash, weightHashes } from "../../../support/hashes";
import { discPicture } from "../../../support/pictures";
import { temporaryDirectory } from "../../../support/temporary-directory";

interface Path {
  latents: number[];
  residuals: number[];
}
const expected = JSON.parse(
  readFileSync(join(__dirname, "..", "..", "..", "fixtures", "tina", "reference.json"), "utf8"),
) as { side: number; steps: number; learningRate: number } & Record<"clean" | "ddim" | "redrawn", number[]> &
  Record<"whole" | "past", Path>;
// The reference computes in float64, this in float32; the error is relative to the largest element.
const OUTPUT = 2e-5;
// AdamW turns a gradient's sign into a step: where it is as small as float32's noise, an element goes the other way.
const AFTER_ADAM = 1e-3;

interface Run {
  inputs: AttackInput[];
  history: StepReport[];
  evaluations: number;
}

describe("tina", () => {
  let golden: GoldenModel;
  let images: Image[];
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
    const side = golden.model.imageSize;
    images = [0, 60].map((seed) => discPicture(side, side, seed));
  });
  afterAll(() => golden.dispose());

  async function run(
    options: Partial<TinaOptions> = {},
    settings: RunOptions = {},
    given: Partial<AttackParts> = {},
  ): Promise<Run> {
    const parsed = complete(tina.options, { updates: 2, ...options }, { concepts: ["church"] });
    fit(tina.options, parsed, golden.model);
    const parts = { images, drawing: { steps: 2, guidanceScale: 3 }, ...given };
    const job = attackJob(given.model ?? golden.model, parts, settings);
    const inputs = await job.run(() => tina.run(job, parsed));
    return { inputs, history: job.history, evaluations: job.evaluations.total };
  }
  const bits = ({ inputs }: Run): Promise<string[]> =>
    Promise.all(inputs.map(({ latents }) => tensorHash(latents!)));

  describe("on the reference's picture", () => {
    const { side, learningRate } = expected;
    const picture = (): Image => {
      const data = new Uint8Array(side * side * 3);
      for (let y = 0; y < side; y++)
        for (let x = 0; x < side; x++)
          for (let c = 0; c < 3; c++) data[(y * side + x) * 3 + c] = 37 * x + 91 * y + 53 * c + 11 * x * y;
      return new Image(side, side, data);
    };
    const reference = (values: number[]): Tensor => Tensor.from(values, [1, 4, 8, 8]);
    const inverted = (options: Partial<TinaOptions>): Promise<Run> =>
      run(
        { learningRate, ...options },
        {},
        { images: [picture()], drawing: { steps: expected.steps, guidanceScale: 3 } },
      );

    it("without updates ends where diffusers' DDIMInverseScheduler does", async () => {
      const { inputs, history, evaluations } = await inverted({ updates: 0 });
      expect(await relativeError(inputs[0]!.latents!, reference(expected.ddim))).toBeLessThan(OUTPUT);
      expect(history.map(({ losses }) => Object.keys(losses))).toEqual(Array(4).fill(["energy"]));
      const energy = expected.ddim.reduce((sum, value) => sum + value ** 2, 0) / expected.ddim.length;
      expect(history[3]!.losses["energy"]! / energy).toBeCloseTo(1, 5);
      expect(evaluations).toBe(4);
    });

    it.each(["whole", "past-network"] as const)(
      "with the gradient %s moves each level's latents as PyTorch's AdamW does",
      async (gradient) => {
        const { latents, residuals } = expected[gradient === "whole" ? "whole" : "past"];
        const { inputs, history, evaluations } = await inverted({ updates: 3, gradient });
        expect(await relativeError(inputs[0]!.latents!, reference(latents))).toBeLessThan(AFTER_ADAM);
        for (const [i, { losses }] of history.entries())
          expect(losses["residual"]! / residuals[i]!).toBeCloseTo(1, 3);
        expect(evaluations).toBe(4 * (1 + 3));
      },
    );
  });

  it("gives noise for each picture, from which the empty text's prediction leads back to it", async () => {
    const before = await weightHashes(golden.model.unet);
    const { inputs, history } = await run({ updates: 30, learningRate: 2e-2 }, { seed: 5 });
    expect(inputs.map(({ name, prompt, seed }) => [name, prompt, seed])).toEqual([
      ["noise 1", "", 5],
      ["noise 2", "", 6],
    ]);
    expect(inputs[0]!.latents!.shape).toEqual([1, 4, 8, 8]);
    const residuals = history.map(({ losses }) => losses["residual"]!);
    expect(residuals[59]).toBeLessThan(residuals[30]! / 5);
    expect(await weightHashes(golden.model.unet)).toEqual(before);
  });

  it("treats each picture as if it were alone, however many are predicted together", async () => {
    const one = { updates: 1, learningRate: 1e-2 };
    const alone = [];
    for (const image of images) alone.push((await run(one, {}, { images: [image] })).inputs[0]!.latents!);
    for (const batchSize of [1, 2]) {
      const { inputs } = await run({ ...one, batchSize });
      for (const [i, { latents }] of inputs.entries())
        expect(await relativeError(latents!, alone[i]!)).toBeLessThan(AFTER_ADAM);
    }
    expect((await run({ updates: 0, targets: 1 })).inputs).toHaveLength(1);
  });

  it("leads back through what an intervention makes of guidance", async () => {
    const plain = await run({ updates: 0 });
    const off = golden.model.withInterventions([
      sldGuidance({ ...SLD_PRESETS["medium"]!, scale: 0, concept: "church" }),
    ]);
    const max = golden.model.withInterventions([sldGuidance({ ...SLD_PRESETS["max"]!, concept: "church" })]);
    const [without, steered] = [
      await run({ updates: 0 }, {}, { model: off }),
      await run({ updates: 0 }, {}, { model: max }),
    ];
    for (const [i, { latents }] of plain.inputs.entries()) {
      expect(await relativeError(without.inputs[i]!.latents!, latents!)).toBeLessThan(OUTPUT);
      expect(await relativeError(steered.inputs[i]!.latents!, latents!)).toBeGreaterThan(1e-2);
    }
  });

  it("stops at the signal, and resumes to the bits of a run that was not interrupted", async () => {
    const whole = await run();
    // In the middle of a level, and between two.
    for (const last of [1, 2]) {
      const controller = new AbortController();
      const checkpoint = { directory: temporaryDirectory(), every: 100 };
      const onStep = ({ iteration }: StepReport): void => {
        if (iteration === last) controller.abort();
      };
      await expect(run({}, { checkpoint, onStep, signal: controller.signal })).rejects.toMatchObject({
        code: "ABORTED",
      });
      const resumed = await run({}, { checkpoint, resume: true });
      expect(await bits(resumed)).toEqual(await bits(whole));
      expect(resumed.evaluations).toBe(whole.evaluations);
    }
  });

  it("in an attack draws each picture from its noise with DDIM and no text, and saves the noise", async () => {
    const drawing = { steps: 2, guidanceScale: 2 };
    const directory = join(temporaryDirectory(), "a");
    const classifier = new BrightnessClassifier(images.map(redness)[1]!);
    const result = await attack(golden.model, {
      ...{ method: "tina", concept: "church", classifier, images, directory, updates: 1, seed: 2 },
      ...drawing,
    });
    expect(readdirSync(directory).sort()).toEqual(
      ["attack.json", "name-2.png", "name-3.png"].concat(
        [1, 2].flatMap((i) => [`noise-${i}-${i + 1}.png`, `noise-${i}.safetensors`]),
      ),
    );
    const saved = await safetensors.load(join(directory, "noise-2.safetensors"));
    const latents = saved.get("latents")!;
    expect(await tensorHash(latents)).toBe(await tensorHash(result.inputs[1]!.latents!));
    const [drawn] = await golden.model.generate("", { ...drawing, latents, sampler: "ddim" });
    expect((await Image.load(join(directory, "noise-2-3.png"))).data).toEqual(drawn!.data);
    expect(result.after.total).toBe(2);
    const written = JSON.parse(readFileSync(join(directory, "attack.json"), "utf8")) as object;
    expect(written).toMatchObject({ inputs: [{ prompt: "", latents: [1, 4, 8, 8] }, {}] });
    const { latents: noise } = result.inputs[0]!;
    result.dispose();
    expect(noise!.disposed).toBe(true);
  });

  it.each<[string, Partial<TinaOptions>, RegExp]>([
    ["fewer updates than none", { updates: -1 }, /updates to be an integer >= 0/],
    ["a gradient that goes elsewhere", { gradient: "text" as "whole" }, /gradient to be one of "whole"/],
  ])("refuses %s", async (_, options, message) => {
    await expect(run(options)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });
});
