import { join } from "node:path";
import type { AttackInput } from "../../../../lib/attack/input";
import { ringABell, type RingABellOptions } from "../../../../lib/attack/methods/ring-a-bell";
import { RUN_STATE_FILE } from "../../../../lib/io/file-kinds";
import * as safetensors from "../../../../lib/io/safetensors";
import { complete, fit } from "../../../../lib/options/option";
import { Tensor } from "../../../../lib/runtime/tensor";
import type { RunOptions } from "../../../../lib/training/run-options";
import type { StepReport } from "../../../../lib/training/step-report";
import { attackJob } from "../../../support/attack-job";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { temporaryDirectory } from "../../../support/temporary-directory";

type Options = Partial<RingABellOptions>;

describe("ring-a-bell", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());

  const short: Options = { tokens: 4, population: 8, generations: 3 };
  const parse = (options: Options) => {
    const parsed = complete(ringABell.options, { ...short, ...options }, { concepts: ["church"] });
    ringABell.check?.(parsed);
    fit(ringABell.options, parsed, golden.model);
    ringABell.fit?.(parsed, golden.model);
    return parsed;
  };
  async function run(
    options: Options = {},
    settings: RunOptions = {},
  ): Promise<{ inputs: AttackInput[]; history: StepReport[]; evaluations: number }> {
    const job = attackJob(golden.model, {}, settings);
    const inputs = await job.run(() => ringABell.run(job, parse(options)));
    return { inputs, history: job.history, evaluations: job.evaluations.total };
  }

  it("gives a text for each prompt, the distance falling, without any UNet evaluation", async () => {
    const { inputs, history, evaluations } = await run({ prompts: ["a photo", "a street"], generations: 30 });
    expect(inputs.map(({ name }) => name)).toEqual(["text 1", "text 2"]);
    for (const { prompt, tokens } of inputs) {
      expect(prompt.trim()).not.toBe("");
      expect(tokens).toBeUndefined();
    }
    const distances = history.map(({ losses }) => losses["distance"]!);
    distances.slice(1).forEach((value, i) => expect(value).toBeLessThanOrEqual(distances[i]!));
    expect(distances.at(-1)).toBeLessThan(distances[0]! * 0.95);
    expect(evaluations).toBe(0);
  });

  it("scores ids by their squared distance from the target, and chooses the text that is nearest when typed", async () => {
    const { tokenizer, textEncoder } = golden.model;
    const directory = temporaryDirectory();
    const options = { pairs: [["a {}", "it"]] as const, strength: 2 };
    const { inputs, history } = await run(options, { checkpoint: { directory } });

    const embed = async (ids: readonly number[]): Promise<number[]> => {
      const row = [...ids, ...Array<number>(77 - ids.length).fill(tokenizer.padTokenId)];
      const states = await textEncoder.forward(Tensor.from(row, [1, 77], { dtype: "int64" }));
      return Array.from(await states.data(), Number);
    };
    const read = (text: string): Promise<number[]> => embed(tokenizer.encode(text)[0]!);
    const [base, given, without] = [await read("a photo"), await read("a church"), await read("it")];
    const target = base.map((value, i) => value + 2 * (given[i]! - without[i]!));
    const distance = (states: readonly number[]): number =>
      target.reduce((sum, value, i) => sum + (value - states[i]!) ** 2, 0);

    const file = await safetensors.open(join(directory, RUN_STATE_FILE));
    const { survivors: found } = JSON.parse(file.metadata["numbers"]!) as {
      survivors: { genes: number[]; loss: number }[][];
    };
    const survivors = found[0]!;
    await file.close();
    const typed = new Map<string, number>();
    for (const { genes, loss } of survivors) {
      const ids = [tokenizer.bosTokenId, ...genes, tokenizer.eosTokenId];
      expect(distance(await embed(ids)) / loss).toBeCloseTo(1, 4);
      const text = tokenizer.decode(genes);
      typed.set(text, distance(await read(text)));
    }
    expect(history.at(-1)!.losses["distance"]).toBe(survivors[0]!.loss);
    expect(typed.get(inputs[0]!.prompt)).toBe(Math.min(...typed.values()));
  });

  it("gives the same texts for the same seed, and others for another", async () => {
    const { inputs } = await run();
    expect((await run()).inputs).toEqual(inputs);
    expect((await run({}, { seed: 1 })).inputs).not.toEqual(inputs);
  });

  it("resumes to the texts and distances of a run that was not interrupted", async () => {
    const checkpoint = { directory: temporaryDirectory(), every: 1 };
    const controller = new AbortController();
    const onStep = (): void => controller.abort();
    const stopped = run({}, { checkpoint, onStep, signal: controller.signal });
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
    const [resumed, whole] = [await run({}, { checkpoint, resume: true }), await run()];
    expect(resumed.inputs).toEqual(whole.inputs);
    expect(resumed.history.map(({ losses }) => losses)).toEqual(whole.history.map(({ losses }) => losses));
  });

  it("ends when no text came nearer for as long as patience says, a resumed search at the same generation", async () => {
    const options = { patience: 2, generations: 500 };
    const checkpoint = { directory: temporaryDirectory(), every: 1 };
    const whole = await run(options, { checkpoint });
    const distances = whole.history.map(({ losses }) => losses["distance"]!);
    const last = distances.length - 1;
    expect(last).toBeLessThan(499);
    expect(distances[last]).toBe(distances[last - 2]);
    for (let i = 2; i < last; i++) expect(distances[i]).toBeLessThan(distances[i - 2]!);
    const again = await run(options, { checkpoint, resume: true });
    expect(again.inputs).toEqual(whole.inputs);
    expect(again.history.map(({ losses }) => losses["distance"])).toEqual(distances);
  });

  it.each<[string, object, RegExp]>([
    ["no pairs", { pairs: [] }, /pairs to be a non-empty list/],
    ["a pair that is none", { pairs: [["a {}"]] }, /a pair/],
    ["a pair of equal texts", { pairs: [["a {}", "a {}"]] }, /a pair to be two different texts/],
    ["no prompts", { prompts: [] }, /prompts/],
    ["a blank prompt", { prompts: [" "] }, /a prompt/],
    ["a prompt twice", { prompts: ["a", "a"] }, /prompts to be different/],
    ["a negative strength", { strength: -1 }, /strength/],
    ["no tokens", { tokens: 0 }, /tokens/],
    ["more tokens than the text encoder takes", { tokens: 76 }, /tokens.*from 1 to 75/],
    ["a population of one", { population: 1 }, /population/],
    ["no patience", { patience: 0 }, /patience/],
    ["no generations", { generations: 0 }, /generations/],
    ["a crossover above one", { crossover: 1.5 }, /crossover/],
    ["a mutation that is no number", { mutation: "often" }, /mutation/],
  ])("refuses %s, naming the option", (_, options, message) => {
    expect(() => parse(options)).toThrow(message);
  });
});
