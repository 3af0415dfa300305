import { partOf, shardOption } from "../../../lib/options/shard";
import { shardFromEnvironment } from "../../../lib/options/shard-environment";

describe("the option shard", () => {
  const { check, flag } = shardOption();
  const read = (text: string): unknown => (flag?.form === "value" ? flag.read([text]) : null);

  it("is an index of a count, I/N on the command line", () => {
    expect(check("shard", { index: 1, count: 2 }, { concepts: [] })).toEqual({ index: 1, count: 2 });
    expect(read("1/2")).toEqual({ index: 1, count: 2 });
  });

  it.each<[unknown, RegExp]>([
    [{ index: 2, count: 2 }, /Expected shard\.index to be an integer from 0 to 1 but received 2/],
    [{ index: -1, count: 2 }, /shard\.index/],
    [{ index: 0, count: 0 }, /Expected shard\.count to be an integer >= 1 but received 0/],
    [{ index: 0 }, /shard\.count/],
    [{ index: 0, count: 2, of: 3 }, /Unknown option "of" in shard/],
    ["0/2", /Expected shard to be an object/],
  ])("refuses %j", (value, message) => {
    expect(() => check("shard", value, { concepts: [] })).toThrow(message);
  });

  it.each(["2/2", "-1/2", "0/0", "1", "0 of 2", "0.5/2", "/2"])("refuses %j on the command line", (text) => {
    expect(() => read(text)).toThrow("Expected I/N, I from 0 to N - 1: of two shards 0/2 and 1/2.");
  });

  it("parts a list so that every item is in one part, and parts differ by one at most", () => {
    const all = ["a", "b", "c", "d", "e"];
    const parts = [0, 1, 2].map((index) => partOf({ index, count: 3 }, all));
    expect(parts).toEqual([["a", "d"], ["b", "e"], ["c"]]);
    expect(partOf(undefined, all)).toEqual(all);
    expect(partOf({ index: 6, count: 7 }, all)).toEqual([]);
  });
});

describe("the shard of the environment", () => {
  it.each<[string, Record<string, string>, [number, number] | null]>([
    ["nothing", {}, null],
    ["torchrun", { RANK: "1", WORLD_SIZE: "4", LOCAL_RANK: "1" }, [1, 4]],
    ["srun", { SLURM_JOB_ID: "7", SLURM_PROCID: "2", SLURM_NTASKS: "3" }, [2, 3]],
    ["Slurm's tasks alone", { SLURM_PROCID: "0", SLURM_NTASKS: "3" }, [0, 3]],
    ["a script of sbatch without tasks", { SLURM_JOB_ID: "7", SLURM_PROCID: "0" }, null],
    ["the shell of salloc", { SLURM_JOB_ID: "7", SLURM_NTASKS: "1" }, null],
    ["a Slurm array", { SLURM_ARRAY_TASK_ID: "2", SLURM_ARRAY_TASK_COUNT: "4" }, [2, 4]],
    [
      "a Slurm array from another number on",
      { SLURM_ARRAY_TASK_ID: "12", SLURM_ARRAY_TASK_COUNT: "3", SLURM_ARRAY_TASK_MIN: "10" },
      [2, 3],
    ],
    [
      "a Slurm array in steps, as --array=10-30:5 makes it",
      {
        ...{ SLURM_JOB_ID: "7", SLURM_PROCID: "0", SLURM_ARRAY_TASK_ID: "20", SLURM_ARRAY_TASK_COUNT: "5" },
        ...{ SLURM_ARRAY_TASK_MIN: "10", SLURM_ARRAY_TASK_MAX: "30", SLURM_ARRAY_TASK_STEP: "5" },
      },
      [2, 5],
    ],
    [
      "tasks within an array",
      { SLURM_ARRAY_TASK_ID: "1", SLURM_ARRAY_TASK_COUNT: "3", SLURM_PROCID: "1", SLURM_NTASKS: "2" },
      [3, 6],
    ],
    ["a Kubernetes Indexed Job", { JOB_COMPLETION_INDEX: "4", JOB_COMPLETIONS: "5" }, [4, 5]],
    ["torchrun within Slurm", { RANK: "5", WORLD_SIZE: "8", SLURM_PROCID: "1", SLURM_NTASKS: "2" }, [5, 8]],
    ["variables that are empty", { RANK: "", WORLD_SIZE: "" }, null],
  ])("is that of %s", (_, environment, shard) => {
    expect(shardFromEnvironment(environment)).toEqual(
      shard === null ? undefined : { index: shard[0], count: shard[1] },
    );
  });

  it("counts the tasks of an array each once", () => {
    const all = [0, 1, 2].flatMap((id) =>
      [0, 1].map(
        (task) =>
          shardFromEnvironment({
            ...{ SLURM_ARRAY_TASK_ID: String(id), SLURM_ARRAY_TASK_COUNT: "3" },
            ...{ SLURM_PROCID: String(task), SLURM_NTASKS: "2" },
          })!.index,
      ),
    );
    expect(all).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it.each<[string, Record<string, string>, RegExp]>([
    ["RANK alone", { RANK: "0" }, /RANK and WORLD_SIZE to be set together but WORLD_SIZE is not/],
    ["WORLD_SIZE alone", { WORLD_SIZE: "2" }, /but RANK is not/],
    ["a task without their number", { SLURM_PROCID: "1" }, /but SLURM_NTASKS is not/],
    ["tasks without srun", { SLURM_JOB_ID: "7", SLURM_NTASKS: "4" }, /but SLURM_PROCID is not/],
    ["a member of no array", { SLURM_ARRAY_TASK_ID: "1" }, /but SLURM_ARRAY_TASK_COUNT is not/],
    ["a Job that does not tell its size", { JOB_COMPLETION_INDEX: "1" }, /but JOB_COMPLETIONS is not/],
    ["a rank out of range", { RANK: "2", WORLD_SIZE: "2" }, /RANK to be from 0 to WORLD_SIZE - 1/],
    ["no size", { RANK: "0", WORLD_SIZE: "0" }, /RANK to be from 0 to WORLD_SIZE - 1/],
    ["a rank that is no number", { RANK: "one", WORLD_SIZE: "2" }, /RANK to be a whole number .*"one"/],
    [
      "an array with gaps, as --array=1,2,7 makes it",
      {
        ...{ SLURM_ARRAY_TASK_ID: "1", SLURM_ARRAY_TASK_COUNT: "3" },
        ...{ SLURM_ARRAY_TASK_MIN: "1", SLURM_ARRAY_TASK_MAX: "7" },
      },
      /one of 3 in equal steps from 1 on but received "1", the last being 7: give an array without gaps/,
    ],
  ])("refuses %s in one sentence", (_, environment, message) => {
    const run = (): unknown => shardFromEnvironment(environment);
    expect(run).toThrow(message);
    expect(run).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});
