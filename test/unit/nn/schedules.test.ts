import type { Schedule, ScheduleShape } from "../../../lib/nn/schedules";
import { parseSchedule } from "../../../lib/nn/schedules";

const values = (schedule: Schedule, n: number): number[] => {
  const at = parseSchedule("rate", schedule);
  return Array.from({ length: n }, (_, i) => at(i, n));
};
const close = (actual: readonly number[], expected: readonly number[]): void => {
  expect(actual).toHaveLength(expected.length);
  actual.forEach((value, i) => expect(value).toBeCloseTo(expected[i]!, 12));
};

describe("parseSchedule", () => {
  it("keeps a number", () => {
    expect(values(0.5, 3)).toEqual([0.5, 0.5, 0.5]);
    expect(values(0, 2)).toEqual([0, 0]);
  });

  it("goes from the first iteration's value to the last's", () => {
    close(values({ from: 1, to: 0, shape: "linear" }, 5), [1, 0.75, 0.5, 0.25, 0]);
    close(values({ from: 0, to: 2, shape: "linear" }, 3), [0, 1, 2]);
    const half = Math.SQRT1_2;
    close(values({ from: 1, to: 0, shape: "cosine" }, 5), [1, (1 + half) / 2, 0.5, (1 - half) / 2, 0]);
    close(values({ from: 3, to: 1, shape: "cosine" }, 3), [3, 2, 1]);
    close(values({ from: 2, to: 9, shape: "constant" }, 3), [2, 2, 2]);
  });

  it("warms up in w iterations that begin above zero and end at the full value", () => {
    close(values({ from: 1, to: 1, shape: "constant", warmup: 4 }, 6), [0.25, 0.5, 0.75, 1, 1, 1]);
    close(values({ from: 2, to: 0, shape: "linear", warmup: 2 }, 6), [1, 2, 1.5, 1, 0.5, 0]);
    close(values({ from: 1, to: 0, shape: "cosine", warmup: 3 }, 5), [1 / 3, 2 / 3, 1, 0.5, 0]);
    close(values({ from: 1, to: 0, shape: "linear", warmup: 1 }, 3), [1, 0.5, 0]);
  });

  it("is `from` in a run of one iteration, and a piece of the ramp in a run that is shorter than it", () => {
    for (const shape of ["constant", "linear", "cosine"] as const)
      expect(values({ from: 3, to: 1, shape }, 1)).toEqual([3]);
    close(values({ from: 1, to: 0, shape: "linear", warmup: 10 }, 3), [0.1, 0.2, 0.3]);
    close(values({ from: 1, to: 0, shape: "linear", warmup: 3 }, 3), [1 / 3, 2 / 3, 1]);
  });

  it("calls a function and checks each value it gives", () => {
    expect(values((i, n) => i / n, 4)).toEqual([0, 0.25, 0.5, 0.75]);
    const at = parseSchedule("lambda", (i) => [1, -1, NaN, Infinity, "1" as unknown as number][i]!);
    expect(at(0, 5)).toBe(1);
    for (const i of [1, 2, 3, 4])
      expect(() => at(i, 5)).toThrow(`Expected lambda(${i}, 5) to be a finite number >= 0`);
  });

  it.each([
    ["a negative number", -1],
    ["NaN", NaN],
    ["infinity", Infinity],
    ["text", "1e-4"],
    ["null", null],
    ["a list", [1, 2]],
    ["an unknown key", { from: 1, to: 0, shape: "linear", warmUp: 3 }],
    ["a missing end", { from: 1, shape: "linear" }],
    ["a negative start", { from: -1, to: 0, shape: "linear" }],
    ["an end that is not finite", { from: 1, to: NaN, shape: "linear" }],
    ["an unknown shape", { from: 1, to: 0, shape: "exponential" }],
    ["a warm-up of half an iteration", { from: 1, to: 0, shape: "linear", warmup: 0.5 }],
    ["a negative warm-up", { from: 1, to: 0, shape: "linear", warmup: -1 }],
  ])("refuses %s, naming the option", (_, schedule) => {
    const parse = (): unknown => parseSchedule("promptLearningRate", schedule as Schedule);
    expect(parse).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    expect(parse).toThrow(/promptLearningRate/);
  });

  it("refuses an iteration outside the run", () => {
    const shape: ScheduleShape = { from: 1, to: 0, shape: "linear" };
    for (const i of [-1, 5, 0.5]) expect(() => parseSchedule("rate", shape)(i, 5)).toThrow(/from 0 to 4/);
  });
});
