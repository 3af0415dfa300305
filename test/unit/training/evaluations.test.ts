import { countEvaluations, EvaluationCounter } from "../../../lib/training/evaluations";

describe("EvaluationCounter", () => {
  it("adds up, from 0 or from where a run was interrupted", () => {
    const counter = new EvaluationCounter();
    counter.add(2);
    counter.add(3);
    expect(counter.total).toBe(5);
    counter.resume(100);
    counter.add(1);
    expect(counter.total).toBe(101);
  });

  it("counts what runs in it, across awaits, and nothing of what runs beside it", async () => {
    const [one, other] = [new EvaluationCounter(), new EvaluationCounter()];
    const work = async (count: number): Promise<void> => {
      await Promise.resolve();
      countEvaluations(count);
    };
    await Promise.all([one.run(() => work(2)), other.run(() => work(3)), work(5)]);
    expect([one.total, other.total]).toEqual([2, 3]);
  });

  it("counts in the counter that it was made in as well, what a saved run had spent included", () => {
    const outer = new EvaluationCounter();
    outer.run(() => {
      const inner = new EvaluationCounter();
      inner.resume(10);
      inner.run(() => countEvaluations(4));
      expect(inner.total).toBe(14);
    });
    expect(outer.total).toBe(14);
  });
});
