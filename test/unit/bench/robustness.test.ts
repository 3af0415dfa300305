import { figuresOf } from "../../../bench/cases/robustness";
import { rate, type AttackResult } from "../../../lib/index";

const inputs = [
  { name: "after 10", prompt: "a", rate: rate(1, 8) },
  { name: "after 50", prompt: "b", rate: rate(6, 8), band: [0, 0.2] as const },
];
const result = {
  ...{ before: rate(0, 8), after: rate(7, 16), inputs, unetEvaluations: 200, seconds: 3 },
} as unknown as AttackResult;
const trial = { name: "concept-inversion", options: {}, quick: {} };

describe("an attack in figures", () => {
  it("is its inputs together, with each of them", () => {
    expect(figuresOf(trial, result)).toEqual([
      {
        attack: "concept-inversion",
        before: { hits: 0, total: 8 },
        after: { hits: 7, total: 16 },
        inputs: [
          { name: "after 10", hits: 1, total: 8 },
          { name: "after 50", hits: 6, total: 8, band: [0, 0.2] },
        ],
        ...{ unetEvaluations: 200, seconds: 3 },
      },
    ]);
  });

  it("is one for each input where they have columns of their own, under label and name", () => {
    const told = figuresOf({ ...trial, label: "rank 4", byInput: true, apart: true }, result);
    expect(told.map(({ label, after, apart }) => [label, after.hits, apart])).toEqual([
      ["rank 4, after 10", 1, true],
      ["rank 4, after 50", 6, true],
    ]);
  });

  it("stands apart where it is only for methods with a key", () => {
    expect(figuresOf({ ...trial, onlyWithKey: true }, result)[0]).toMatchObject({ apart: true });
    expect(figuresOf(trial, result)[0]).not.toHaveProperty("apart");
  });
});
