import { existsSync, readdirSync, readFileSync } from "node:fs";
import * as promises from "node:fs/promises";
import { join } from "node:path";
import { joinRun } from "../../../lib/files/join-run";
import { temporaryDirectory } from "../../support/temporary-directory";

jest.mock("node:fs/promises", () => ({ ...jest.requireActual<object>("node:fs/promises") }));

describe("joinRun", () => {
  let path: string;
  const is = (identity: object) => () => Promise.resolve({ ...identity });
  const shard = (identity: object) => joinRun(path, is(identity), { part: true });
  const rest = (identity: object) => joinRun(path, is(identity), { part: false });
  beforeEach(() => {
    path = join(temporaryDirectory(), "run.json");
  });
  afterEach(() => jest.restoreAllMocks());

  it("lets shards of one run in, and what is left of it, and ends with that", async () => {
    await shard({ steps: 4, model: { weights: ["a"] } });
    await shard({ steps: 4, model: { weights: ["a"] } });
    const end = await rest({ steps: 4, model: { weights: ["a"] } });
    expect(existsSync(path)).toBe(true);
    await end!();
    expect(readdirSync(join(path, ".."))).toEqual([]);
    await shard({ steps: 8 });
  });

  it("asks and leaves nothing where no shards were", async () => {
    const identity = jest.fn();
    expect(await joinRun(path, identity, { part: false })).toBeNull();
    expect(identity).not.toHaveBeenCalled();
    expect(existsSync(path)).toBe(false);
  });

  it("refuses another run, with what differs, and leaves the first one's word", async () => {
    await shard({ steps: 4, model: { weights: ["a", "b"] } });
    const before = readFileSync(path);
    for (const other of [shard, rest])
      await expect(other({ steps: 4, model: { weights: ["a", "c"] } })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: `${path} is of shards with other options or another model: model.weights[1] was "b" there and is "c" here; give the same, or another folder, or remove that file where none of them runs any more`,
      });
    expect(readFileSync(path)).toEqual(before);
  });

  it("of shards that come at the same moment takes one, and refuses those of another run", async () => {
    const outcomes = await Promise.allSettled([1, 1, 2, 2, 2].map((steps) => shard({ steps })));
    const { steps } = JSON.parse(readFileSync(path, "utf8")) as { steps: number };
    expect(outcomes.map(({ status }) => status === "fulfilled")).toEqual(
      [1, 1, 2, 2, 2].map((own) => own === steps),
    );
    expect(readdirSync(join(path, ".."))).toEqual(["run.json"]);
  });

  it("writes the file where the file system has no links", async () => {
    jest.spyOn(promises, "link").mockRejectedValue(Object.assign(new Error("no"), { code: "EPERM" }));
    await shard({ steps: 4 });
    expect(JSON.parse(readFileSync(path, "utf8"))).toEqual({ steps: 4 });
    await expect(shard({ steps: 5 })).rejects.toThrow(/steps was 4 there and is 5 here/);
  });
});
