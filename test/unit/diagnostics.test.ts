import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe, tracingChannel, unsubscribe } from "node:diagnostics_channel";
import { attack } from "../../lib/attack/attack";
import {
  traced,
  traceStep,
  type AttackTrace,
  type EraseTrace,
  type EvaluateTrace,
  type GenerateTrace,
  type InvertTrace,
  type LoadTrace,
  type StepMessage,
  type TraceMessages,
} from "../../lib/diagnostics";
import { StableDiffusion } from "../../lib/diffusion/stable-diffusion";
import { erase } from "../../lib/erasure/erase";
import { evaluate } from "../../lib/evaluation/evaluate";
import { invert } from "../../lib/inversion/invert";
import { BrightnessClassifier } from "../support/brightness-classifier";
import { golden } from "../support/golden";
import { discPicture } from "../support/pictures";
import { resultOf, runProgram } from "../support/program";
import { temporaryDirectory } from "../support/temporary-directory";

const FEW = { iterations: 2, batchSize: 1 };
const DRAWING = { steps: 2, guidanceScale: 2, sampler: "ddim" as const };
const ERASE = { concepts: "church", ...FEW, poolSize: 1, samplingSteps: 4, neighbours: "off" as const };

/** Runs with a listener on a channel. @returns the messages in their order, with the events that they came by */
async function heard<N extends keyof TraceMessages>(
  name: N,
  run: () => Promise<unknown>,
): Promise<[event: string, message: TraceMessages[N]][]> {
  const events: [string, TraceMessages[N]][] = [];
  const channel = tracingChannel<unknown, TraceMessages[N]>(name);
  const listen = (event: string) => (message: object) =>
    void events.push([event, message as TraceMessages[N]]);
  const listeners = {
    start: listen("start"),
    end: listen("end"),
    asyncStart: listen("asyncStart"),
    asyncEnd: listen("asyncEnd"),
    error: listen("error"),
  };
  channel.subscribe(listeners);
  try {
    await run();
  } finally {
    channel.unsubscribe(listeners);
  }
  return events;
}

/** The one message of a channel while `run` ran. */
async function messageOf<N extends keyof TraceMessages>(
  name: N,
  run: () => Promise<unknown>,
): Promise<TraceMessages[N]> {
  const messages = new Set((await heard(name, run)).map(([, message]) => message));
  expect(messages.size).toBe(1);
  return [...messages][0]!;
}

describe("the diagnostics channels", () => {
  const path = golden("small");
  let model: StableDiffusion;
  beforeAll(async () => {
    model = await StableDiffusion.load(path);
  });
  afterAll(() => model.dispose());

  it("cost nothing where nobody listens", async () => {
    const never = (): never => {
      throw new Error("called");
    };
    await expect(traced("kpop-native:load", never, () => Promise.resolve(3), never)).resolves.toBe(3);
    const report = Object.defineProperty({ iteration: 1 }, "losses", { enumerable: true, get: never });
    expect(() => traceStep(report as unknown as StepMessage)).not.toThrow();
  });

  it("tell of an erasure, of its loading and of its steps, each of its run, and leave the result as it is", async () => {
    const steps: StepMessage[] = [];
    const parents: unknown[] = [];
    const around = new AsyncLocalStorage<unknown>();
    const onStep = (message: unknown): void => {
      parents.push(around.getStore());
      steps.push(message as StepMessage);
      (message as StepMessage).losses["erase"] = NaN;
    };
    const erasing = tracingChannel<unknown, EraseTrace>("kpop-native:erase");
    erasing.start.bindStore(around, (message) => message);
    subscribe("kpop-native:step", onStep);
    let history: readonly object[] = [];
    let loaded: LoadTrace | undefined;
    const events = await heard("kpop-native:erase", async () => {
      loaded = await messageOf("kpop-native:load", async () => {
        using erasure = await erase(path, { ...ERASE, method: "esd", seed: 4 });
        ({ history } = erasure);
      });
    });
    erasing.start.unbindStore(around);
    unsubscribe("kpop-native:step", onStep);

    expect(events.map(([event]) => event)).toEqual(["start", "end", "asyncStart", "asyncEnd"]);
    const message = events[0]![1];
    expect(message).toEqual({
      ...{ operation: "erase", model: path, method: "esd", concepts: ["church"], seed: 4 },
      result: {
        iterations: 2,
        seconds: expect.any(Number) as number,
        unetEvaluations: expect.any(Number) as number,
        changedParameters: expect.any(Number) as number,
      },
    });
    expect(loaded).toEqual({ path, device: "auto", dtype: "float32", result: { device: "cpu" } });
    expect(steps.map(({ iteration, iterations }) => [iteration, iterations])).toEqual([
      [1, 2],
      [2, 2],
    ]);
    for (const step of steps) expect(step.run).toBe(message);
    expect(parents).toEqual([message, message]);
    // What a listener does to a message does nothing to the run.
    using unheard = await erase(model, { ...ERASE, method: "esd", seed: 4 });
    const losses = (all: readonly object[]) => all.map((each) => (each as StepMessage).losses);
    expect(losses(history)).toEqual(losses(unheard.history));
  });

  it("tell of what fails with the error that the caller gets, and not of what is refused", async () => {
    const missing = heard("kpop-native:load", () =>
      StableDiffusion.load("./nowhere").catch((error: unknown) => (thrown = error)),
    );
    let thrown: unknown;
    const events = await missing;
    expect(events.map(([event]) => event)).toEqual(["start", "end", "error", "asyncStart", "asyncEnd"]);
    expect(events[0]![1].error).toBe(thrown);
    expect(thrown).toMatchObject({ code: "NOT_FOUND" });
    const refused = () => erase(model, { ...ERASE, iterations: -1 }).catch(() => undefined);
    expect(await heard("kpop-native:erase", refused)).toEqual([]);
  });

  it("tell of pictures, evaluations, inversions and attacks", async () => {
    const threshold = 127;
    const classifier = new BrightnessClassifier(threshold);
    const side = model.imageSize;
    const images = [0, 30].map((seed) => discPicture(side, side, seed));
    const drawn = await messageOf("kpop-native:generate", () =>
      model.generate(["a church", "a dog"], { ...DRAWING, count: 2 }),
    );
    expect(drawn).toEqual({
      ...{ model: path, prompts: ["a church", "a dog"], pictures: 4, steps: 2, sampler: "ddim" },
      ...{ width: side, height: side, result: undefined },
    } satisfies GenerateTrace & { result: undefined });

    const measure = () =>
      evaluate(model, {
        ...{ erased: ["church"], preserved: ["dog"], classifier, imagesPerClass: 1, topK: [1] },
        ...{ ...DRAWING, cacheDirectory: temporaryDirectory() },
      });
    const measured = await messageOf("kpop-native:evaluate", measure);
    expect(measured).toMatchObject({
      ...{ model: path, erased: ["church"], preserved: ["dog"] },
      result: {
        images: 2,
        generated: 2,
        esr: { 1: expect.any(Number) as number },
        psr: { 1: expect.any(Number) as number },
      },
    } satisfies Partial<EvaluateTrace> & object);

    const learned = await messageOf("kpop-native:invert", () => invert(model, { images, ...FEW }));
    expect(learned).toEqual({
      ...{ operation: "invert", model: path, pictures: 2, seed: 0, result: { unetEvaluations: 2 } },
    } satisfies InvertTrace);

    const attacked = await messageOf("kpop-native:attack", () =>
      attack(model, { concept: "church", classifier, images, imagesPerInput: 1, ...FEW, ...DRAWING }),
    );
    expect(attacked).toEqual({
      ...{ operation: "attack", model: path, method: "concept-inversion", concept: "church", seed: 0 },
      result: {
        before: expect.any(Number) as number,
        after: expect.any(Number) as number,
        inputs: 1,
        unetEvaluations: 2,
      },
    } satisfies AttackTrace);
  });

  it("keep what a listener throws out of the run: Node reports it", async () => {
    const told = resultOf(await runProgram("throwing-listener.mjs", [path]));
    // The listeners of load and of two steps.
    expect(told).toEqual({ steps: 2, uncaught: ["a listener", "a listener", "a listener"] });
  });
});
