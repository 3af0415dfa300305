import { readFileSync } from "node:fs";
import type { StepReport } from "../../../lib/training/step-report";
import { RunState } from "../../../lib/training/run-state";
import { trainingLoop } from "../../../lib/training/training-loop";
import { Tensor } from "../../../lib/runtime/tensor";
import { stubContext } from "../../support/erasure-context";
import { temporaryDirectory } from "../../support/temporary-directory";

interface Setting {
  iterations?: number;
  directory?: string;
  every?: number;
  resume?: boolean;
  signal?: AbortSignal;
  step?: (iteration: number, sum: Tensor) => number | Promise<number>;
}

/** A method whose only weight is the sum of 1 + i over the iterations done. */
function training(setting: Setting) {
  const { iterations = 5, directory, every = 2, resume = false, signal, step } = setting;
  const sum = Tensor.zeros([]);
  const made: Tensor[] = [];
  const runState = new RunState(directory === undefined ? undefined : { directory, every }, resume, "print");
  const context = stubContext({ runState, signal });
  const state = {
    tensors: () => new Map([["sum", sum]]),
    numbers: () => 7,
    restore: (numbers: unknown) => expect(numbers).toBe(7),
  };
  const loop = trainingLoop(context, {
    iterations,
    state,
    step: async (iteration) => {
      context.evaluations.add(3);
      made.push(Tensor.zeros([1]));
      await sum.copyFrom(sum.add(1 + iteration));
      return { erase: (await step?.(iteration, sum)) ?? 0.5 };
    },
  });
  return { loop, sum, made, context, path: runState.path };
}

async function all(
  loop: AsyncIterable<StepReport>,
  each?: (report: StepReport) => void,
): Promise<StepReport[]> {
  const reports: StepReport[] = [];
  for await (const report of loop) {
    reports.push(report);
    each?.(report);
  }
  return reports;
}

describe("trainingLoop", () => {
  it("reports every iteration: number, losses, time spent and time to come", async () => {
    const { loop, sum } = training({ iterations: 4, step: (i) => i / 10 });
    const reports = await all(loop);
    expect(
      reports.map(({ iteration, iterations, losses }) => [iteration, iterations, losses["erase"]]),
    ).toEqual([
      [1, 4, 0],
      [2, 4, 0.1],
      [3, 4, 0.2],
      [4, 4, 0.3],
    ]);
    reports.forEach(({ iteration, seconds, etaSeconds }, i) => {
      expect(seconds).toBeGreaterThanOrEqual(reports[i - 1]?.seconds ?? 0);
      expect(etaSeconds).toBeCloseTo((seconds / iteration) * (4 - iteration), 9);
    });
    expect(await sum.item()).toBe(10);
  });

  it("frees what an iteration leaves behind", async () => {
    const { loop, made } = training({});
    await all(loop);
    expect(made.map((tensor) => tensor.disposed)).toEqual([true, true, true, true, true]);
  });

  it("resumes after an abort to the same weights, losses and evaluations as a run in one go", async () => {
    const directory = temporaryDirectory();
    const controller = new AbortController();
    const first = training({ directory, signal: controller.signal, step: (i) => i });
    const stopped = all(first.loop, ({ iteration }) => {
      if (iteration === 3) controller.abort();
    });
    await expect(stopped).rejects.toMatchObject({ name: "KpopError", code: "ABORTED" });

    const second = training({ directory, resume: true, step: (i) => i });
    const reports = await all(second.loop);
    const whole = training({ step: (i) => i });
    const expected = await all(whole.loop);
    const plain = (list: StepReport[]): unknown => list.map(({ iteration, losses }) => [iteration, losses]);
    expect(plain(reports)).toEqual(plain(expected));
    expect(await second.sum.item()).toBe(await whole.sum.item());
    expect(second.context.evaluations.total).toBe(whole.context.evaluations.total);
    expect(reports[4]!.seconds).toBeGreaterThan(reports[2]!.seconds);
  });

  it("of a finished run only reports again what was", async () => {
    const directory = temporaryDirectory();
    await all(training({ directory }).loop);
    const again = training({ directory, resume: true });
    expect(await all(again.loop)).toHaveLength(5);
    expect([again.made.length, await again.sum.item()]).toEqual([0, 15]);
  });

  it("stops before the first iteration when the signal has fired already", async () => {
    const { loop, made } = training({ signal: AbortSignal.abort() });
    await expect(all(loop)).rejects.toMatchObject({ code: "ABORTED" });
    expect(made).toHaveLength(0);
  });

  it.each([NaN, Infinity, -Infinity])(
    "stops where a loss becomes %d, and leaves the state saved before",
    async (bad) => {
      const directory = temporaryDirectory();
      let before: Buffer | undefined;
      const { loop, path } = training({
        directory,
        every: 1,
        step: (i) => {
          if (i !== 2) return 0.5;
          before = readFileSync(path!);
          return bad;
        },
      });
      const reports: StepReport[] = [];
      await expect(all(loop, (report) => reports.push(report))).rejects.toMatchObject({
        name: "KpopError",
        code: "NUMERIC_FAILURE",
        message: expect.stringMatching(
          new RegExp(
            `"erase" became ${bad} at iteration 3: lower the learning rates; the state saved before is in`,
          ),
        ) as string,
      });
      expect(reports).toHaveLength(2);
      expect(readFileSync(path!).equals(before!)).toBe(true);
    },
  );

  it("says how to keep states where none were kept", async () => {
    await expect(all(training({ step: () => NaN }).loop)).rejects.toThrow(/give a checkpoint directory/);
  });

  it("passes on what a step throws", async () => {
    const { loop } = training({
      step: () => {
        throw new Error("mine");
      },
    });
    await expect(all(loop)).rejects.toThrow("mine");
  });
});
