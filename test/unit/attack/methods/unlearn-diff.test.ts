import { join } from "node:path";
import type { AttackParts } from "../../../../lib/attack/job";
import type { AttackInput } from "../../../../lib/attack/input";
import { unlearnDiff, type UnlearnDiffOptions } from "../../../../lib/attack/methods/unlearn-diff";
import { KpopError } from "../../../../lib/errors";
import type { Image } from "../../../../lib/io/image";
import { complete, fit } from "../../../../lib/options/option";
import type { RunOptions } from "../../../../lib/training/run-options";
import type { StepReport } from "../../../../lib/training/step-report";
import { attackJob } from "../../../support/attack-job";
import { tensorHash, weightHashes } from "../../../support/hashes";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { discPicture } from "../../../support/pictures";
import { temporaryDirectory } from "../../../support/temporary-directory";

type Options = Partial<UnlearnDiffOptions>;
type Succeeds = AttackParts["succeeds"];

interface Run {
  inputs: AttackInput[];
  history: StepReport[];
  evaluations: number;
}

describe("unlearn-diff", () => {
  let golden: GoldenModel;
  let images: Image[];
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
    const side = golden.model.imageSize;
    images = [0, 30].map((seed) => discPicture(side, side, seed));
  });
  afterAll(() => golden.dispose());

  const short: Options = { length: 2, timesteps: 2, stepsPerTimestep: 1 };
  const parse = (options: Options) => {
    const parsed = complete(unlearnDiff.options, { ...short, ...options }, { concepts: ["church"] });
    unlearnDiff.check?.(parsed);
    fit(unlearnDiff.options, parsed, golden.model);
    unlearnDiff.fit?.(parsed, golden.model);
    return parsed;
  };
  async function run(
    options: Options = {},
    settings: RunOptions = {},
    succeeds: Succeeds = () => Promise.resolve(false),
  ): Promise<Run> {
    const o = parse(options);
    const all: Run = { inputs: [], history: [], evaluations: 0 };
    for (let target = 0; target < unlearnDiff.targets!(o, images.length); target++) {
      const { checkpoint } = settings;
      const own = checkpoint && { ...checkpoint, directory: join(checkpoint.directory, String(target)) };
      const job = attackJob(
        golden.model,
        { images, succeeds, target },
        { ...settings, ...(own && { checkpoint: own }) },
      );
      all.inputs.push(...(await job.run(() => unlearnDiff.run(job, o))));
      all.history.push(...job.history);
      all.evaluations += job.evaluations.total;
    }
    return all;
  }
  const bits = ({ inputs }: Run): Promise<string[]> =>
    Promise.all(inputs.flatMap(({ tokens = [] }) => tokens.map(({ embeddings }) => tensorHash(embeddings))));

  it("gives words for each picture, by their own embeddings, and leaves the model as it is", async () => {
    const before = await weightHashes(golden.model.unet);
    const { inputs, history, evaluations } = await run();
    expect(inputs.map(({ name, seed }) => [name, seed])).toEqual([
      ["<adversarial-0>", 0],
      ["<adversarial-1>", 1],
    ]);
    for (const { name, prompt, text, tokens } of inputs) {
      expect(prompt).toBe(`${name} a photo of a church`);
      expect(text).toMatch(/^\S.* a photo of a church$/);
      const table = golden.model.textEncoder.parameter("text_model.embeddings.token_embedding.weight");
      const { embeddings } = tokens![0]!;
      expect(embeddings.shape).toEqual([2, 32]);
      for (const row of [embeddings.slice(0, 0, 1), embeddings.slice(0, 1, 2)])
        expect(await table.sub(row).abs().amax(1).amin(0).item()).toBe(0);
    }
    // For each picture: the plain prompt, then two timesteps.
    expect(history.map(({ losses }) => Object.keys(losses))).toEqual([
      [],
      ["denoising"],
      ["denoising"],
      [],
      ["denoising"],
      ["denoising"],
    ]);
    expect(evaluations).toBe(4);
    expect(await weightHashes(golden.model.unet)).toEqual(before);
  });

  it("tries the plain prompt, then the words after every timestep, each from its picture's noise", async () => {
    const tried: [string, number][] = [];
    await run({ targets: 1, position: "suffix" }, { seed: 7 }, ({ prompt }, seed) => {
      tried.push([prompt, seed]);
      return Promise.resolve(false);
    });
    expect(tried).toEqual([
      ["a photo of a church", 7],
      ["a photo of a church <adversarial-0>", 7],
      ["a photo of a church <adversarial-0>", 7],
    ]);
  });

  it("stops at a success: words for the first picture, none where the plain prompt succeeds", async () => {
    const { inputs, evaluations } = await run({}, {}, ({ tokens }, seed) =>
      Promise.resolve(seed === 1 || tokens !== undefined),
    );
    expect(inputs.map(({ prompt }) => prompt)).toEqual([
      "<adversarial-0> a photo of a church",
      "a photo of a church",
    ]);
    expect(inputs[1]!.tokens).toBeUndefined();
    expect(evaluations).toBe(1);
  });

  it("takes as many updates at a timestep as asked for, and learns from them", async () => {
    const one = { targets: 1, timesteps: 1 };
    const { inputs, evaluations } = await run({ ...one, stepsPerTimestep: 3 });
    expect(evaluations).toBe(3);
    expect(inputs).toHaveLength(1);
    // Without a learning rate it stays uniform, and the first token of all is as likely as any.
    const still = await run({ ...one, learningRate: 0 });
    expect(still.inputs[0]!.text).toBe("!! a photo of a church");
    expect(inputs[0]!.text).not.toBe("!! a photo of a church");
  });

  it("gives the same bits for the same seed, and others for another", async () => {
    const one = { targets: 1 };
    const first = await bits(await run(one));
    expect(await bits(await run(one))).toEqual(first);
    expect(await bits(await run(one, { seed: 1 }))).not.toEqual(first);
  });

  it("searches for a picture to the same bits, whether for others before it or not", async () => {
    const job = attackJob(golden.model, { images, target: 1 });
    const inputs = await job.run(() => unlearnDiff.run(job, parse({})));
    const evaluations = job.evaluations.total;
    const alone = { inputs, history: job.history, evaluations };
    expect(await bits(alone)).toEqual((await bits(await run())).slice(1));
    expect([evaluations, inputs[0]!.name, inputs[0]!.seed]).toEqual([2, "<adversarial-1>", 1]);
  });

  it("resumes to the bits of a run that was not interrupted", async () => {
    const checkpoint = { directory: temporaryDirectory(), every: 100 };
    const whole = await run();
    // In the middle of the first picture, then of the second; of what is restored the steps are told again.
    for (const stop of [1, 2]) {
      const controller = new AbortController();
      let seconds = 0;
      const onStep = ({ iteration }: StepReport): void => {
        if (iteration === 2 && ++seconds === stop) controller.abort();
      };
      const stopped = run({}, { checkpoint, onStep, resume: true, signal: controller.signal });
      await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
    }
    const resumed = await run({}, { checkpoint, resume: true });
    expect(await bits(resumed)).toEqual(await bits(whole));
    expect(resumed.evaluations).toBe(whole.evaluations);
    expect(resumed.history.map(({ losses }) => losses)).toEqual(whole.history.map(({ losses }) => losses));
  });

  it.each([1, 2, 3])(
    "keeps the updates before picture %i when the signal comes in the middle of it",
    async (at) => {
      const checkpoint = { directory: temporaryDirectory(), every: 100 };
      const controller = new AbortController();
      let pictures = 0;
      const stopped = run({ targets: 1 }, { checkpoint, signal: controller.signal }, () => {
        if (++pictures < at) return Promise.resolve(false);
        controller.abort();
        return Promise.reject(new KpopError("ABORTED", "stopped"));
      });
      await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
      const tried: string[] = [];
      const resumed = await run({ targets: 1 }, { checkpoint, resume: true }, ({ prompt }) => {
        tried.push(prompt);
        return Promise.resolve(false);
      });
      expect(tried).toHaveLength(4 - at);
      expect(await bits(resumed)).toEqual(await bits(await run({ targets: 1 })));
    },
  );

  it.each<[string, object, RegExp]>([
    ["no tokens", { length: 0 }, /length/],
    ["more tokens than the text encoder takes", { length: 76 }, /length.*from 1 to 75/],
    ["a position that it does not have", { position: "middle" }, /position/],
    ["no timesteps", { timesteps: 0 }, /timesteps/],
    ["more timesteps than the schedule has", { timesteps: 1001 }, /timesteps/],
    ["no updates", { stepsPerTimestep: 0 }, /stepsPerTimestep/],
    ["a negative rate", { learningRate: -1 }, /learningRate/],
    ["a negative decay", { weightDecay: -0.1 }, /weightDecay/],
    ["no targets", { targets: 0 }, /targets/],
  ])("refuses %s, naming the option", (_, options, message) => {
    expect(() => parse(options)).toThrow(message);
  });

  it("refuses words behind a prompt that leaves no room for them, before any work", async () => {
    const job = attackJob(golden.model, { images, prompt: "a ".repeat(75) });
    await expect(job.run(() => unlearnDiff.run(job, parse({ position: "suffix" })))).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    expect(job.history).toEqual([]);
  });
});
