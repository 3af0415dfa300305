import { execFile } from "node:child_process";
import { chmodSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { shardFromEnvironment } from "../../../lib/index";
import { testWith } from "../../support/outside-program";
import { temporaryDirectory } from "../../support/temporary-directory";

const run = promisify(execFile);
const DEPLOY = join(__dirname, "../../../deploy");
const read = (name: string) => readFileSync(join(DEPLOY, name), "utf8");
/** As a program says it, with its exit code. */
const said = (program: string, args: string[]) =>
  run(program, args).then(
    ({ stdout, stderr }) => ({ code: 0, text: stdout + stderr }),
    (error: { code: number; stdout: string; stderr: string }) => ({
      code: error.code,
      text: error.stdout + error.stderr,
    }),
  );
/** A copy of a file of deploy/ with a fault in it. */
const spoilt = (name: string, from: string | RegExp, to: string): string => {
  const path = join(temporaryDirectory(), name);
  const text = read(name).replace(from, to);
  expect(text).not.toBe(read(name));
  writeFileSync(path, text);
  return path;
};

describe("deploy/Dockerfile", () => {
  testWith("hadolint", "passes hadolint, which finds a fault in it", async (hadolint) => {
    expect(await said(hadolint, [join(DEPLOY, "Dockerfile")])).toEqual({ code: 0, text: "" });
    const wrong = await said(hadolint, [spoilt("Dockerfile", "USER 10001", "USER root")]);
    expect(wrong).toMatchObject({ code: 1, text: expect.stringMatching(/DL3002.*root/) as string });
  });

  it("runs the program as a user by number, and lets the doctor say whether it is well", () => {
    const [, last] = read("Dockerfile").split(/^FROM \$\{FLAVOUR\}$/m);
    expect(last).toMatch(/^USER [1-9]\d*$/m);
    expect(last).toMatch(/^HEALTHCHECK .*CMD \["kpop-native", "doctor"\]$/m);
    expect(last).toMatch(/^ENTRYPOINT \["kpop-native"\]$/m);
    for (const flavour of ["cpu", "cuda"])
      expect(read("Dockerfile")).toMatch(new RegExp(`^FROM \\S+ AS ${flavour}$`, "m"));
  });
});

describe("deploy/kubernetes-job.yaml", () => {
  const MANIFEST = "kubernetes-job.yaml";
  const valid = (program: string, path: string) => said(program, ["--strict", "--quiet", path]);

  testWith(
    "kubernetes-validate",
    "is a Job by Kubernetes' own schema, of four shards and of one",
    async (validate) => {
      expect(await valid(validate, join(DEPLOY, MANIFEST))).toMatchObject({ code: 0 });
      const whole = spoilt(MANIFEST, /(?<=: "?)4(?="?$)/gm, "1");
      expect(readFileSync(whole, "utf8")).toMatch(/completions: 1\n +parallelism: 1$/m);
      expect(await valid(validate, whole)).toMatchObject({ code: 0 });
      for (const [from, to] of [
        ["completions: 4", 'completions: "four"'],
        ["completionMode", "completionKind"],
      ] as const)
        expect((await valid(validate, spoilt(MANIFEST, from, to))).code).not.toBe(0);
    },
  );

  it("tells every pod as many completions as the Job has", () => {
    const [, completions] = /completions: (\d+)/.exec(read(MANIFEST))!;
    const [, told] = /JOB_COMPLETIONS.*\n +value: "(\d+)"/.exec(read(MANIFEST))!;
    expect(told).toBe(completions);
    expect(read(MANIFEST)).toMatch(/completionMode: Indexed/);
    const last = shardFromEnvironment({
      JOB_COMPLETION_INDEX: String(Number(completions) - 1),
      JOB_COMPLETIONS: told!,
    });
    expect(last).toEqual({ index: Number(completions) - 1, count: Number(completions) });
  });
});

describe("deploy/slurm-array.sh", () => {
  const SCRIPT = join(DEPLOY, "slurm-array.sh");

  testWith("shellcheck", "passes shellcheck, which finds a fault in it", async (shellcheck) => {
    expect(await said(shellcheck, ["--severity=style", SCRIPT])).toEqual({ code: 0, text: "" });
    const wrong = await said(shellcheck, [spoilt("slurm-array.sh", '"$@"', "$@")]);
    expect(wrong).toMatchObject({ code: 1, text: expect.stringContaining("SC2068") as string });
  });

  it("runs the command that it is given, in each member as that member's shard", async () => {
    const bin = temporaryDirectory();
    const stand = join(bin, "kpop-native");
    writeFileSync(stand, '#!/bin/sh\necho "$OMP_NUM_THREADS $SLURM_ARRAY_TASK_ID: $*"\n');
    chmodSync(stand, 0o755);
    const [, array, last] = /^#SBATCH --array=(\d+)-(\d+)$/m.exec(read("slurm-array.sh"))!;
    expect(array).toBe("0");
    const env = {
      ...{ SLURM_ARRAY_TASK_ID: last!, SLURM_ARRAY_TASK_COUNT: String(Number(last) + 1) },
      ...{ SLURM_ARRAY_TASK_MIN: "0", SLURM_ARRAY_TASK_MAX: last!, SLURM_ARRAY_TASK_STEP: "1" },
      ...{ SLURM_JOB_ID: "9", SLURM_PROCID: "0", SLURM_NTASKS: "1", SLURM_CPUS_PER_TASK: "4" },
    };
    const PATH = [bin, process.env["PATH"]].join(delimiter);
    const { stdout } = await run(SCRIPT, ["evaluate", "a model", "--out", "x"], { env: { ...env, PATH } });
    expect(stdout).toBe(`4 ${last}: evaluate a model --out x\n`);
    expect(shardFromEnvironment(env)).toEqual({ index: Number(last), count: Number(last) + 1 });
  });

  it("asks for what Slurm knows, before the first command", () => {
    const lines = read("slurm-array.sh").split("\n");
    const options = lines.filter((line) => line.startsWith("#SBATCH"));
    expect(options.every((line) => /^#SBATCH --[a-z-]+(=\S+)?$/.test(line))).toBe(true);
    expect(lines.findIndex((line) => line.startsWith("set "))).toBeGreaterThan(
      lines.lastIndexOf(options.at(-1)!),
    );
  });
});

it("has a test for every file of deploy/", () => {
  const tested = readFileSync(__filename, "utf8");
  expect(readdirSync(DEPLOY).filter((name) => !tested.includes(`"deploy/${name}"`))).toEqual([]);
});
