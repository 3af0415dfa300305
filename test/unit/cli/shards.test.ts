import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { without } from "../../../lib/files/json-file";
import { PromptKey, Tensor, type Comparison, type Evaluation } from "../../../lib/index";
import { cli, jsonLines, type CliResult } from "../../support/cli";
import { testWith } from "../../support/outside-program";
import { temporaryFolders } from "../../support/temporary";
import { saveClassifier } from "../../support/tiny-classifier";

const folder = temporaryFolders();
const run = promisify(execFile);
const PROGRAM = join(__dirname, "../../../dist/cli.js");
const CLASSES = ["--erased", "church", "--preserved", "dog"];
const MEASURE = ["--images-per-class", "4", "--batch-size", "2", "--steps", "2", "--top-k", "1"];
const DRAW = ["--prompt", "church", "--prompt", "a dog", "--count", "3", "--steps", "2", "--batch-size", "2"];
const evaluateArgs = (out: string) => [
  "evaluate",
  "pocket",
  "--classifier",
  "classifier",
  ...CLASSES,
  ...MEASURE,
  "--out",
  out,
];
const readComparison = (file: string) => JSON.parse(readFileSync(file, "utf8")) as Comparison;
const generateArgs = (out: string) => ["generate", "pocket", ...DRAW, "--out", out];

describe("commands in shards", () => {
  let cwd: string;
  beforeAll(async () => {
    cwd = folder();
    await saveClassifier(join(cwd, "classifier"), ["church", "dog", "owl"]);
    expect(await cli(evaluateArgs("alone"), { cwd })).toMatchObject({ code: 0 });
    expect(await cli(generateArgs("alone.png"), { cwd })).toMatchObject({ code: 0 });
    expect(await cli([...generateArgs("alone-sheet.png"), "--grid"], { cwd })).toMatchObject({ code: 0 });
  });
  const figures = (out: string) => {
    const { classes, esr, psr, pictures } = JSON.parse(
      readFileSync(join(cwd, out, "evaluation.json"), "utf8"),
    ) as Evaluation;
    const bytes = pictures.map(({ path }) => readFileSync(join(cwd, path.slice(path.indexOf(out)))));
    return { classes, esr, psr, ranks: pictures.map(({ rank, best }) => [rank, best]), bytes };
  };
  const series = (stem: string) => [1, 2, 3, 4, 5, 6].map((i) => readFileSync(join(cwd, `${stem}-${i}.png`)));
  /** What is left to the command without a shard. */
  const generatedBy = async (out: string) => {
    const { code, stdout } = await cli([...evaluateArgs(out), "--json"], { cwd });
    expect(code).toBe(0);
    return jsonLines(stdout).at(-1)!["generated"];
  };

  it("of different engines make evaluate's pictures together, and the whole measures what one process does", async () => {
    const engines = [
      { RANK: "0", WORLD_SIZE: "3" },
      { SLURM_ARRAY_TASK_ID: "5", SLURM_ARRAY_TASK_COUNT: "3", SLURM_ARRAY_TASK_MIN: "4" },
      { JOB_COMPLETION_INDEX: "2", JOB_COMPLETIONS: "3" },
    ];
    const shards = await Promise.all(engines.map((env) => cli(evaluateArgs("engines"), { cwd, env })));
    for (const [i, { code, stdout, stderr }] of shards.entries()) {
      expect({ code, stderr }).toMatchObject({ code: 0 });
      const [index] = Object.keys(engines[i]!);
      expect(stderr).toMatch(new RegExp(`^Shard ${i}/3 by ${index} and`, "m"));
      // Four batches of two pictures.
      expect(stdout).toMatch(
        new RegExp(`^${i === 0 ? 4 : 2} pictures of this shard lie in engines; when all`),
      );
    }
    expect(existsSync(join(cwd, "engines/evaluation.json"))).toBe(false);
    expect(await generatedBy("engines")).toBe(0);
    expect(figures("engines")).toEqual(figures("alone"));
  });

  it("that are killed are finished by another, and by the whole", async () => {
    const out = "killed";
    const killed = (i: number): Promise<CliResult> =>
      cli([...evaluateArgs(out), "--shard", `${i}/2`, "--json"], {
        cwd,
        onLine: (line, kill) => {
          if ((JSON.parse(line) as { generated?: number }).generated === 2) kill("SIGKILL");
        },
      });
    expect(await killed(1)).toMatchObject({ signal: "SIGKILL" });
    expect(await cli([...evaluateArgs(out), "--shard", "1/2"], { cwd })).toMatchObject({ code: 0 });
    expect(await killed(0)).toMatchObject({ signal: "SIGKILL" });
    expect(await generatedBy(out)).toBe(2);
    expect(figures(out)).toEqual(figures("alone"));
    expect(readdirSync(join(cwd, out)).sort()).toEqual(["evaluation.json", "images"]);
  });

  it("draw several models together, which the whole measures and compares as one process does", async () => {
    symlinkSync(resolve("models/pocket"), join(cwd, "copy"));
    const prompt = Tensor.from(
      Float32Array.from({ length: 4 * 128 }, (_, i) => Math.sin(i)),
      [4, 128],
    );
    const key = new PromptKey({ prompt, mechanism: "concat", layers: "all", concepts: ["church"] });
    await key.save(join(cwd, "k.safetensors"));
    const several = ["pocket", "./copy", "--key", "k.safetensors", "--cmmd-clip", "pocket"];
    const args = (out: string) => ["evaluate", ...several, ...evaluateArgs(out).slice(2)];
    const shards = await Promise.all(
      [0, 1].map((i) => cli([...args("together"), "--shard", `${i}/2`], { cwd })),
    );
    for (const { code, stdout } of shards) {
      expect(code).toBe(0);
      expect(stdout).toMatch(/^12 pictures of this shard lie in together; when all/);
    }
    expect(existsSync(join(cwd, "together/evaluation.json"))).toBe(false);
    const compared = async (out: string) => {
      expect(await cli(args(out), { cwd })).toMatchObject({ code: 0 });
      const { models, differences } = readComparison(join(cwd, out, "evaluation.json"));
      const plain = models.map((model) => ({
        ...without(model, "directory", "seconds", "generated"),
        pictures: model.pictures.map((picture) => without(picture, "path")),
      }));
      return { differences, plain, generated: models.map(({ generated }) => generated) };
    };
    const found = await compared("together");
    expect(found.generated).toEqual([0, 0, 0]);
    expect(found.plain[2]!.metrics!.cmmd!.all.value).toBeGreaterThan(0);
    const { plain, differences } = await compared("apart");
    expect({ plain: found.plain, differences: found.differences }).toEqual({ plain, differences });
    expect(readdirSync(join(cwd, "together")).sort()).toEqual(["evaluation.json", "images"]);
  });

  it("make generate's files together, and a sheet afterwards", async () => {
    for (const out of ["parts.png", "sheet.png"]) {
      const grid = out === "sheet.png" ? ["--grid"] : [];
      const shards = await Promise.all(
        [0, 1].map((i) => cli([...generateArgs(out), ...grid, "--shard", `${i}/2`], { cwd })),
      );
      expect(shards.map(({ code }) => code)).toEqual([0, 0]);
    }
    expect(series("parts")).toEqual(series("alone"));
    expect(existsSync(join(cwd, "sheet.png"))).toBe(false);
    expect(await cli([...generateArgs("sheet.png"), "--grid"], { cwd })).toMatchObject({ code: 0 });
    expect(readFileSync(join(cwd, "sheet.png"))).toEqual(readFileSync(join(cwd, "alone-sheet.png")));
    expect(await cli(generateArgs("parts.png"), { cwd })).toMatchObject({
      code: 0,
      stderr: expect.not.stringContaining("step ") as string,
    });
    expect(series("parts")).toEqual(series("alone"));
    expect(readdirSync(cwd).filter((name) => name.endsWith(".shards"))).toEqual([]);
  });

  it.each<[string, string[], Record<string, string>, RegExp]>([
    ["an index out of range", ["--shard", "2/2"], {}, /argument '2\/2' is invalid\. Expected I\/N/],
    ["a rank out of range", [], { RANK: "2", WORLD_SIZE: "2" }, /RANK to be from 0 to WORLD_SIZE - 1/],
    ["half of the environment", [], { RANK: "0" }, /WORLD_SIZE is not: set it, or name the shard yourself/],
    ["a Job of unknown size", [], { JOB_COMPLETION_INDEX: "0" }, /JOB_COMPLETIONS is not/],
  ])("refuse %s in one sentence, and leave nothing", async (_, args, env, message) => {
    for (const command of [evaluateArgs("refused"), generateArgs("refused.png")]) {
      const { code, stdout, stderr } = await cli([...command, ...args], { cwd, env });
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      expect(stderr).toMatch(message);
      expect(stderr.split("\n").filter((line) => line.startsWith("error:"))).toHaveLength(1);
    }
    expect(readdirSync(cwd).filter((name) => name.startsWith("refused"))).toEqual([]);
  });

  it("refuse other options than those of the others, and keep what those have", async () => {
    const out = "other";
    await cli([...evaluateArgs(out), "--shard", "0/2"], { cwd });
    const before = readdirSync(join(cwd, out), { recursive: true }).sort();
    const { code, stderr } = await cli([...evaluateArgs(out), "--guidance-scale", "3", "--shard", "1/2"], {
      cwd,
    });
    expect(code).toBe(2);
    expect(stderr).toMatch(
      /^error: other\/evaluation\.shards\.json is of shards with other options.*guidanceScale was 7\.5 there and is 3 here/m,
    );
    expect(readdirSync(join(cwd, out), { recursive: true }).sort()).toEqual(before);
  });

  testWith("torchrun", "run under the real torchrun", async (torchrun) => {
    const under = async (...args: string[]) =>
      run(
        torchrun,
        ["--standalone", "--nproc-per-node", "2", "--no-python", process.execPath, PROGRAM, ...args],
        {
          cwd,
          env: { ...process.env, RANK: undefined, WORLD_SIZE: undefined },
        },
      );
    const { stderr } = await under(...evaluateArgs("torchrun"));
    expect(stderr).toMatch(/^Shard 0\/2 by RANK and WORLD_SIZE; --shard 0\/1 is the whole$/m);
    expect(stderr).toMatch(/^Shard 1\/2 by RANK/m);
    await under(...generateArgs("torchrun.png"));
    expect(series("torchrun")).toEqual(series("alone"));
    expect(await generatedBy("torchrun")).toBe(0);
    expect(figures("torchrun")).toEqual(figures("alone"));
  });
});
