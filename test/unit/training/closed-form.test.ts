import { existsSync } from "node:fs";
import { Tensor } from "../../../lib/runtime/tensor";
import { temporaryDirectory } from "../../support/temporary-directory";
import { aborted, job, stateIn } from "../../support/training-job";

describe("Job.closedForm", () => {
  it("reports each part, frees what it leaves, and keeps no state", async () => {
    const directory = temporaryDirectory();
    const run = job({ directory, every: 1 });
    const left: Tensor[] = [];
    await run.run(() =>
      run.closedForm(3, async (i) => {
        left.push(Tensor.zeros([1]));
        return { moved: Tensor.from([i + 1], []), none: null };
      }),
    );
    expect(
      run.history.map(({ iteration, iterations, losses: values }) => [iteration, iterations, values]),
    ).toEqual([1, 2, 3].map((i) => [i, 3, { moved: i }]));
    run.history.forEach(({ iteration, seconds, etaSeconds }) =>
      expect(etaSeconds).toBeCloseTo((seconds / iteration) * (3 - iteration), 9),
    );
    expect(left.map((tensor) => tensor.disposed)).toEqual([true, true, true]);
    expect(existsSync(stateIn(directory))).toBe(false);
  });

  it("counts on where a form goes in several", async () => {
    const run = job();
    await run.run(async () => {
      await run.closedForm(2, async (i) => ({ first: i }), 3);
      await run.closedForm(1, async (i) => ({ second: i }), 3);
    });
    expect(run.history.map(({ iteration, iterations, losses: values }) => [iteration, iterations, values])).toEqual([[1, 3, { first: 0 }], [2, 3, { first: 1 }], [3, 3, { second: 0 }]]); // prettier-ignore
    const seconds = run.history.map((report) => report.seconds);
    expect(seconds).toEqual([...seconds].sort((a, b) => a - b));
    expect(run.history.at(-1)!.etaSeconds).toBe(0);
  });

  it("stops between parts on abort, and at the part that gives no number", async () => {
    const controller = new AbortController();
    const stopped = job({ signal: controller.signal, onStep: () => controller.abort() });
    const call = stopped.run(() => stopped.closedForm(3, async () => ({})));
    await expect(call).rejects.toMatchObject(aborted);
    expect(stopped.history).toHaveLength(1);
    const failing = job();
    await expect(
      failing.run(() => failing.closedForm(3, async (i) => ({ moved: i === 1 ? NaN : 0 }))),
    ).rejects.toMatchObject({
      code: "NUMERIC_FAILURE",
      message: expect.stringContaining('"moved" became NaN at iteration 2') as string,
    });
  });
});
