import { golden } from "../support/golden";
import { resultOf, runProgram } from "../support/program";

describe("worker threads", () => {
  it("each load the add-on, erase and generate at once, and come to what the main thread comes to", async () => {
    interface Work {
      weights: string;
      prompt: string;
      images: string;
    }
    interface Outcome {
      exits: { code: number; result: Work }[];
      held: boolean;
      main: Work;
    }
    const { exits, held, main } = resultOf<Outcome>(
      await runProgram("worker-threads.mjs", [golden("small"), 2]),
    );
    expect(exits).toEqual([
      { code: 0, result: main },
      { code: 0, result: main },
    ]);
    expect(held).toBe(true);
  });

  it("can be terminated 0, 30 and 150 ms into a training, and the main thread works on", async () => {
    const results = resultOf(await runProgram("terminate-worker.mjs", [golden("small"), 0, 30, 150]));
    expect(results).toEqual(Array(3).fill({ code: 1, during: true, after: true }));
  });
});

describe("a process that ends", () => {
  it.each([0, 50, 300])(
    "by process.exit() %i ms into forwards, backwards and a training does so cleanly",
    async (delay) => {
      const { code, signal, lines, stderr } = await runProgram("exit-in-mid-run.mjs", [
        golden("small"),
        delay,
      ]);
      expect({ code, signal, lines, stderr }).toEqual({
        code: 0,
        signal: null,
        lines: ["leaving"],
        stderr: "",
      });
    },
  );

  it("by process.exit() while a thread trains does so cleanly", async () => {
    const { code, signal, lines, stderr } = await runProgram("exit-over-worker.mjs", [
      golden("small"),
      "exit",
    ]);
    expect({ code, signal, lines, stderr }).toEqual({
      code: 0,
      signal: null,
      lines: ["leaving"],
      stderr: "",
    });
  });

  it("by an error that nobody catches shows it, and dies of nothing else", async () => {
    const { code, signal, stderr } = await runProgram("exit-over-worker.mjs", [golden("small"), "throw"]);
    expect({ code, signal }).toEqual({ code: 1, signal: null });
    expect(stderr).toContain("thrown on purpose");
  });
});
