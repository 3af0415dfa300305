import { setTimeout } from "node:timers/promises";
import { forEachLimited } from "../../../lib/files/for-each-limited";

describe("forEachLimited", () => {
  it("works on every item once, never on more than the limit at a time", async () => {
    let running = 0;
    let most = 0;
    const seen: number[] = [];
    await forEachLimited([5, 1, 4, 2, 3, 0], 3, async (item) => {
      most = Math.max(most, ++running);
      await setTimeout(item);
      seen.push(item);
      running--;
    });
    expect(seen.sort()).toEqual([0, 1, 2, 3, 4, 5]);
    expect(most).toBe(3);
  });

  it("starts nothing after a failure, and throws it when the running ones have ended", async () => {
    const started: number[] = [];
    const ended: number[] = [];
    const work = forEachLimited([0, 1, 2, 3, 4, 5], 2, async (item) => {
      started.push(item);
      await setTimeout(item === 0 ? 1 : 20);
      if (item === 0) throw new Error("first");
      ended.push(item);
    });
    await expect(work).rejects.toThrow("first");
    expect(started).toEqual([0, 1]);
    expect(ended).toEqual([1]);
  });
});
