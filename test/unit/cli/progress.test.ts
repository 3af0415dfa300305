import { Progress } from "../../../lib/cli/progress";

let said: string;
let now: number;

beforeEach(() => {
  said = "";
  now = 0;
  jest.spyOn(process.stderr, "write").mockImplementation((text) => {
    said += String(text);
    return true;
  });
  jest.spyOn(performance, "now").mockImplementation(() => now);
});
afterEach(() => jest.restoreAllMocks());

describe("progress without a terminal", () => {
  it("is a line for the first step, one each ten seconds, and one for the last", () => {
    const progress = new Progress("iteration", false);
    for (let done = 1; done <= 40; done++) {
      now = done * 600;
      progress.update(done, 40, "loss 0.1", (40 - done) * 0.6);
    }
    progress.stop();
    expect(said.split("\n")).toEqual([
      "iteration 1 of 40  23 s left  loss 0.1",
      "iteration 18 of 40  13 s left  loss 0.1",
      "iteration 35 of 40  3.0 s left  loss 0.1",
      "iteration 40 of 40  loss 0.1",
      "",
    ]);
  });

  it.each([
    ["once that a job falls far behind its first estimate on a busy machine", 3, 1],
    ["nothing of it where no other program is why", 2, 0],
  ])("says %s", (_, load, times) => {
    const progress = new Progress("iteration", false, () => ({ cores: 2, load }));
    const seconds = (done: number): number => (done <= 10 ? done : 10 + (done - 10) * 4);
    for (let done = 1; done <= 40; done++) {
      now = seconds(done) * 1000;
      progress.update(done, 40, "", (40 - done) * (seconds(done) / done));
    }
    const behind = said.split("\n").filter((line) => line.includes("as it looked at first"));
    const told = expect.stringMatching(
      /^This takes 1 min \d+ s and not 39 s.*`kpop-native doctor`/,
    ) as string;
    expect(behind).toEqual(Array<string>(times).fill(told));
  });

  it("is said now and then too while nothing is complete", () => {
    const progress = new Progress("picture", false);
    for (let step = 1; step <= 40; step++) {
      now = step * 600;
      progress.update(0, 8, "", 60 - step);
    }
    expect(said.split("\n")).toEqual([
      "picture 0 of 8  59 s left",
      "picture 0 of 8  42 s left",
      "picture 0 of 8  25 s left",
      "",
    ]);
  });
});
