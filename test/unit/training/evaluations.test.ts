import { EvaluationCounter } from "../../../lib/training/evaluations";

describe("EvaluationCounter", () => {
  it("adds up, from 0 or from where a run was interrupted", () => {
    const counter = new EvaluationCounter();
    counter.add(2);
    counter.add(3);
    expect(counter.total).toBe(5);
    counter.total = 100;
    counter.add(1);
    expect(counter.total).toBe(101);
  });
});
