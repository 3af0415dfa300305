import { existsSync, readFileSync } from "node:fs";
import { KpopError } from "../../../lib/errors";
import { Tensor } from "../../../lib/runtime/tensor";
import { countEvaluations } from "../../../lib/training/evaluations";
import type { Job } from "../../../lib/training/job";
import type { Losses } from "../../../lib/training/player";
import type { PrepareReport, StepReport } from "../../../lib/training/step-report";
import { temporaryDirectory } from "../../support/temporary-directory";
import { aborted, job, losses, stateIn, training, type Setting } from "../../support/training-job";

describe("Job.iterate", () => {
  it("reports every iteration: number, losses, time spent and time to come", async () => {
    const { done, run, sum, reports } = training({ iterations: 4, step: (i) => i / 10 });
    await done;
    expect(
      reports.map(({ iteration, iterations, losses: { erase } }) => [iteration, iterations, erase]),
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
    expect(run.history).toEqual(reports);
    expect(await sum.item()).toBe(10);
  });

  it("reads tensors and numbers by name in their order, graph or none, and leaves out those not computed", async () => {
    const run = job();
    const weight = Tensor.from([3], [1], { requiresGrad: true });
    await run.run(() =>
      run.iterate(1, async () => ({
        erase: weight.mul(2).sum(),
        preserve: null,
        recover: 0.5,
        transfer: Tensor.from([4], []),
      })),
    );
    expect(Object.entries(run.history[0]!.losses)).toEqual([
      ["erase", 6],
      ["recover", 0.5],
      ["transfer", 4],
    ]);
  });

  it("prepares its parts first, tells how far that is, and counts what it spends", async () => {
    const told: PrepareReport[] = [];
    const { done, run, prepared, reports } = training({
      iterations: 2,
      onPrepare: (report) => {
        expect(reports).toEqual([]);
        told.push(report);
      },
    });
    await done;
    expect(told.map(({ what, done: there, total }) => [what, there, total])).toEqual([
      ["thing", 1, 2],
      ["thing", 2, 2],
    ]);
    expect(told[1]!.etaSeconds).toBe(0);
    expect([prepared(), run.evaluations.total]).toEqual([2, 2 * 10 + 2 * 3]);
  });

  it("stops while it prepares when the signal fires, before it saves or iterates", async () => {
    const directory = temporaryDirectory();
    const controller = new AbortController();
    const { done, made, prepared, closed } = training({
      directory,
      signal: controller.signal,
      onPrepare: () => controller.abort(),
    });
    await expect(done).rejects.toMatchObject(aborted);
    expect([prepared(), made.length, closed()]).toEqual([2, 0, 1]);
    expect(existsSync(stateIn(directory))).toBe(false);
  });

  it("resumes after an abort, without preparing again, to the weights, losses and evaluations of a run in one go", async () => {
    const directory = temporaryDirectory();
    const controller = new AbortController();
    const onStep = ({ iteration }: StepReport): void => {
      if (iteration === 3) controller.abort();
    };
    const first = training({ directory, signal: controller.signal, step: (i) => i, onStep });
    await expect(first.done).rejects.toMatchObject(aborted);

    const second = training({ directory, resume: true, step: (i) => i });
    await second.done;
    const whole = training({ step: (i) => i });
    await whole.done;
    expect(losses(second.reports)).toEqual(losses(whole.reports));
    expect([second.prepared(), second.made.length]).toEqual([0, 2]);
    expect(await second.sum.item()).toBe(await whole.sum.item());
    expect(second.run.evaluations.total).toBe(whole.run.evaluations.total);
    expect(second.reports[4]!.seconds).toBeGreaterThan(second.reports[2]!.seconds);
  });

  it("saves the iterations done when a step stops that has moved nothing yet, and only the state before where it has", async () => {
    for (const moving of [false, true]) {
      const directory = temporaryDirectory();
      const weight = Tensor.from([0], [1]);
      const stopped = job({ directory, every: 2 });
      const iterate = (run: Job, stopAt: number): Promise<void> =>
        run.run(async () => {
          const options = { learningRate: 1, iterations: 5 };
          const player = await run.learn("weights", new Map([["w", weight]]), options);
          await run.iterate(5, async (i) => {
            if (i === stopAt && !moving) throw new KpopError("ABORTED", "stopped");
            return player.update(i, async (backward) => {
              if (i === stopAt) throw new KpopError("ABORTED", "stopped");
              return { erase: await backward(weight.sum()) };
            });
          });
        });
      await expect(iterate(stopped, 3)).rejects.toMatchObject(aborted);
      await weight.copyFrom(Tensor.from([99], [1]));
      const again = job({ directory, resume: true });
      await iterate(again, -1);
      // Iterations 0 to 2 were done, and the state of the first two was saved before the third.
      expect(again.history).toHaveLength(5);
      // Adam with a gradient of 1 steps by its rate.
      expect(await weight.item()).toBeCloseTo(-5, 4);
      expect(stopped.history).toHaveLength(3);
    }
  });

  it("has the state of an iteration on disk when it tells of it, so that nothing is lost by who stops there", async () => {
    for (const device of ["cpu", "cuda:0"]) {
      const directory = temporaryDirectory();
      const saved: number[] = [];
      const onStep = ({ iteration }: StepReport): void => {
        if (existsSync(stateIn(directory))) saved.push(iteration);
        if (iteration === 4) throw new Error("mine");
      };
      await expect(training({ device, directory, onStep }).done).rejects.toThrow("mine");
      expect(saved).toEqual(device === "cpu" ? [2, 3, 4] : [1, 2, 3, 4]);
      const again = training({ device, directory, resume: true });
      await again.done;
      expect(again.made).toHaveLength(1);
    }
  });

  /** Three stages of 2, 3 and 1 iterations, each on a part of its own that begins at what the weight is when it is prepared. */
  function stages(setting: Setting = {}) {
    const run = job(setting);
    const weight = Tensor.zeros([]);
    const begun: number[] = [];
    const done = run.run(async () => {
      run.part("weight", { tensors: () => new Map([["weight", weight]]) });
      for (const [stage, iterations] of [2, 3, 1].entries()) {
        const start = Tensor.zeros([]);
        run.part("start", {
          tensors: () => new Map([["start", start]]),
          async prepare() {
            begun.push(stage);
            await start.copyFrom(weight);
            await run.prepared("start", 1, 1, performance.now());
          },
        });
        const step = async (i: number): Promise<Losses> => {
          countEvaluations(1);
          await weight.copyFrom(
            weight
              .mul(2)
              .add(start)
              .add(i + 1),
          );
          return { erase: await weight.item() };
        };
        await run.iterate(iterations, step, undefined, 6);
      }
    });
    return { done, run, weight, begun };
  }

  it("counts iterations through all stages, each of which prepares its own part when it begins", async () => {
    const { done, run, weight, begun } = stages();
    await done;
    expect(run.history.map(({ iteration, iterations }) => `${iteration} of ${iterations}`)).toEqual(
      [1, 2, 3, 4, 5, 6].map((iteration) => `${iteration} of 6`),
    );
    expect(run.history.at(-1)!.etaSeconds).toBe(0);
    // 1, 4 | 15, 38, 85 | 261
    expect([begun, await weight.item()]).toEqual([[0, 1, 2], 261]);
  });

  it.each([1, 2, 3, 4, 5, 6])("goes on after iteration %d to the end of a run in one go", async (stop) => {
    const directory = temporaryDirectory();
    const controller = new AbortController();
    const first = stages({
      directory,
      signal: controller.signal,
      every: 100,
      onStep: ({ iteration }) => void (iteration === stop && controller.abort()),
    });
    if (stop < 6) await expect(first.done).rejects.toMatchObject(aborted);
    else await first.done;
    const [second, whole] = [stages({ directory, resume: true }), stages()];
    await Promise.all([second.done, whole.done]);
    expect(losses(second.run.history)).toEqual(losses(whole.run.history));
    expect(await second.weight.item()).toBe(261);
    expect(second.run.evaluations.total).toBe(6);
    // Stages behind it prepare nothing; the one that it stopped in was prepared, and is in the state.
    const ends = [2, 5, 6];
    expect(second.begun).toEqual([0, 1, 2].filter((stage) => stage > 0 && stop <= ends[stage - 1]!));
  });

  it("loses nothing where a later stage stops while it prepares", async () => {
    const directory = temporaryDirectory();
    const controller = new AbortController();
    let parts = 0;
    const onPrepare = (): void => void (++parts === 2 && controller.abort());
    const first = stages({ directory, signal: controller.signal, every: 100, onPrepare });
    await first.done.catch(() => undefined);
    const second = stages({ directory, resume: true });
    await second.done;
    expect([second.begun, await second.weight.item()]).toEqual([[1, 2], 261]);
  });

  it("of a finished run only reports again what was", async () => {
    const directory = temporaryDirectory();
    await training({ directory }).done;
    const again = training({ directory, resume: true });
    await again.done;
    expect(again.reports).toHaveLength(5);
    expect([again.made.length, again.prepared(), await again.sum.item()]).toEqual([0, 0, 15]);
  });

  it("refuses the state of another run, and leaves it", async () => {
    const directory = temporaryDirectory();
    await training({ directory }).done;
    const before = readFileSync(stateIn(directory));
    const other = training({ directory, resume: true, identity: "other" });
    await expect(other.done).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect([other.made.length, other.closed()]).toEqual([0, 1]);
    expect(readFileSync(stateIn(directory)).equals(before)).toBe(true);
  });

  it("stops before the first iteration when the signal has fired already", async () => {
    const { done, made } = training({ signal: AbortSignal.abort() });
    await expect(done).rejects.toMatchObject(aborted);
    expect(made).toHaveLength(0);
  });

  it.each([NaN, Infinity, -Infinity])(
    "stops where a loss becomes %d, and leaves the state saved before",
    async (bad) => {
      const directory = temporaryDirectory();
      let before: Buffer | undefined;
      const { done, reports } = training({
        directory,
        every: 1,
        step: (i) => {
          if (i !== 2) return 0.5;
          before = readFileSync(stateIn(directory));
          return bad;
        },
      });
      await expect(done).rejects.toMatchObject({
        name: "KpopError",
        code: "NUMERIC_FAILURE",
        message: expect.stringMatching(
          new RegExp(
            `"erase" became ${bad} at iteration 3: lower the learning rates; the state saved before is in`,
          ),
        ) as string,
      });
      expect(reports).toHaveLength(2);
      expect(readFileSync(stateIn(directory)).equals(before!)).toBe(true);
    },
  );

  it("says how to keep states where none were kept", async () => {
    await expect(training({ step: () => NaN }).done).rejects.toThrow(/give a checkpoint directory/);
  });

  describe("on a GPU", () => {
    const device = "cuda:0";

    it("reads the losses of ten iterations together, and of those left at the end", async () => {
      const at: number[] = [];
      let steps = 0;
      const { done, reports } = training({
        device,
        iterations: 23,
        step: (i) => {
          steps += 1;
          return Tensor.from([i], []);
        },
        onStep: () => at.push(steps),
      });
      await done;
      expect(at).toEqual([...Array<number>(10).fill(10), ...Array<number>(10).fill(20), 23, 23, 23]);
      expect(losses(reports)).toEqual(Array.from({ length: 23 }, (_, i) => [i + 1, { erase: i }]));
    });

    it("names the iteration whose loss is no number, and reports those before it", async () => {
      const { done, reports } = training({
        device,
        iterations: 20,
        step: (i) => Tensor.from([i === 16 ? NaN : 1], []),
      });
      await expect(done).rejects.toMatchObject({
        code: "NUMERIC_FAILURE",
        message: expect.stringContaining('"erase" became NaN at iteration 17') as string,
      });
      expect(reports).toHaveLength(16);
    });

    it("reports what is still unread before it saves, in its turn or on abort, and frees it where it fails", async () => {
      const directory = temporaryDirectory();
      const controller = new AbortController();
      const step = (i: number): Tensor => {
        if (i === 6) controller.abort();
        return Tensor.from([i], []);
      };
      const shared = { device, directory, every: 3, iterations: 8, step };
      const first = training({ ...shared, signal: controller.signal });
      await expect(first.done).rejects.toMatchObject(aborted);
      expect(losses(first.reports)).toEqual(Array.from({ length: 7 }, (_, i) => [i + 1, { erase: i }]));
      const again = training({ ...shared, resume: true });
      await again.done;
      expect(again.reports.map(({ iteration }) => iteration)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
      expect(again.made).toHaveLength(1);

      const unread: Tensor[] = [];
      const failing = training({
        device,
        step: (i) => {
          if (i === 3) throw new Error("mine");
          return (unread[i] = Tensor.from([i], []));
        },
      });
      await expect(failing.done).rejects.toThrow("mine");
      expect(unread.map((tensor) => tensor.disposed)).toEqual([true, true, true]);
    });
  });
});

describe("Job.run", () => {
  it("frees what an iteration leaves behind", async () => {
    const { done, made } = training({});
    await done;
    expect(made.map((tensor) => tensor.disposed)).toEqual([true, true, true, true, true]);
  });

  it.each(["ends", "fails half-way", "fails as it closes"])(
    "frees what it made and held when the run %s, but not what it gives",
    async (how) => {
      const run = job();
      const left: Tensor[] = [];
      let given: Tensor | undefined;
      const done = run.run(async () => {
        const start = Tensor.from([1], [1]);
        const held = run.hold(Tensor.zeros([1]));
        const player = await run.learn("weights", new Map([["w", start]]), {
          learningRate: 0.1,
          iterations: 1,
        });
        left.push(start, held, player.tensors().get("adam.first.0")!);
        run.part("closing", {
          close: async () => {
            if (how === "fails as it closes") throw new Error("mine");
          },
        });
        await run.iterate(1, async (): Promise<Losses> => {
          left.push(run.hold(Tensor.zeros([2])));
          if (how === "fails half-way") throw new Error("mine");
          return {};
        });
        given = Tensor.from([5], [1]);
        return given;
      });
      if (how === "ends") {
        await done;
        expect(given!.disposed).toBe(false);
      } else await expect(done).rejects.toThrow("mine");
      expect(left.map((tensor) => tensor.disposed)).toEqual([true, true, true, true]);
    },
  );
});
