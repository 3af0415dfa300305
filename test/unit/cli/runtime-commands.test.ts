import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { registerDoctor } from "../../../lib/cli/commands/doctor";
import { registerInstallRuntime } from "../../../lib/cli/commands/install-runtime";
import { cli, jsonLines } from "../../support/cli";
import { fakeLibtorch, fakePython } from "../../support/fake-libtorch";
import { fakeWheel } from "../../support/fake-wheel";
import { temporaryFolders } from "../../support/temporary";

const folder = temporaryFolders();
const environment = { ...process.env };

afterEach(() => {
  process.env = { ...environment };
  process.exitCode = undefined;
});

async function run(...args: string[]): Promise<{ stdout: string; stderr: string; error: unknown }> {
  const output = { stdout: "", stderr: "" };
  const spies = (["stdout", "stderr"] as const).map((name) =>
    jest.spyOn(process[name], "write").mockImplementation((text) => {
      output[name] += String(text);
      return true;
    }),
  );
  const program = new Command().exitOverride();
  registerDoctor(program);
  registerInstallRuntime(program);
  const error: unknown = await program.parseAsync(["node", "kpop-native", ...args]).then(
    () => null,
    (reason: unknown) => reason,
  );
  spies.forEach((spy) => spy.mockRestore());
  return { ...output, error };
}

describe("kpop-native doctor", () => {
  it("prints one JSON object and nothing else with --json", async () => {
    const { stdout, stderr } = await run("doctor", "--json");
    expect(stdout.split("\n")).toHaveLength(2);
    expect(JSON.parse(stdout)).toMatchObject({ ok: true, devices: expect.arrayContaining(["cpu"]) });
    expect(stderr).toBe("");
    expect(process.exitCode).toBe(0);
  });

  it("warns of a busy machine, which is no failure", async () => {
    const busy = join(folder(), "busy.cjs");
    writeFileSync(busy, 'require("node:os").loadavg = () => [9999, 0, 0];');
    // A process of its own, for the number of threads is that of its start.
    const { code, stdout } = await cli(["doctor"], {
      env: { OMP_NUM_THREADS: "2", NODE_OPTIONS: `--require ${busy}` },
    });
    expect(stdout).toMatch(/^warn {2}cpu {7}load 9999\.0 on .*\n +-> Wait until .*OMP_NUM_THREADS/m);
    expect(stdout).toMatch(/^Ready/m);
    expect(code).toBe(0);
  });

  it("exits with 1 and says what to do when something is wrong", async () => {
    process.env.KPOP_LIBTORCH = folder();
    const { stdout } = await run("doctor");
    expect(stdout).toMatch(/FAIL {2}libtorch .*holds no libtorch.*\n +-> Point it at another libtorch/);
    expect(process.exitCode).toBe(1);
  });
});

describe("kpop-native install-runtime", () => {
  it("takes --cpu or --cuda, not both", async () => {
    const { error, stderr } = await run("install-runtime", "--cpu", "--cuda");
    expect(error).toMatchObject({ exitCode: 2 });
    expect(stderr).toContain("exclude each other");
  });

  it("passes on why an archive cannot be installed", async () => {
    process.env.XDG_CACHE_HOME = folder();
    const { error, stdout } = await run("install-runtime", "--from", "/nowhere/torch.whl");
    expect(error).toMatchObject({ code: "NOT_FOUND" });
    expect(stdout).toBe("");
  });

  it.each([
    ["--list", "--from", "torch.whl"],
    ["--list", "--remove"],
    ["--remove", "--force"],
    ["--remove", "--sha256", "0"],
  ])("takes no %s %s", async (...flags) => {
    const { error, stderr } = await run("install-runtime", ...flags);
    expect(error).toMatchObject({ name: "CommanderError" });
    expect(stderr).toMatch(/cannot be used with|exclude each other/);
  });

  it("installs, lists and removes, in words and as JSON lines", async () => {
    process.env.XDG_CACHE_HOME = folder();
    const from = fakeWheel(folder());
    const installed = await run("install-runtime", "--from", from);
    expect(installed.stdout).toMatch(/^libtorch 2\.13\.0 \(cpu\) installed: \//);
    expect(installed.stderr).toMatch(/^sha256 [0-9a-f]{64} {2}torch-.*\.whl$/m);

    const listed = await run("install-runtime", "--list", "--json");
    expect(jsonLines(listed.stdout)).toEqual([
      expect.objectContaining({ event: "runtime", version: "2.13.0", flavour: "cpu", fault: null }),
    ]);
    expect((await run("install-runtime", "--list")).stdout).toMatch(/^libtorch 2\.13\.0 \(cpu\) .*-cpu\n$/);

    const other = await run("install-runtime", "--remove", "--cuda");
    expect(other.error).toMatchObject({ code: "NOT_FOUND" });
    const removed = await run("install-runtime", "--remove", "2.13.0", "--json");
    expect(jsonLines(removed.stdout)).toEqual([expect.objectContaining({ event: "removed" })]);
    const nothing = await run("install-runtime", "--list");
    expect(nothing).toMatchObject({ stdout: "", stderr: "No runtime is installed\n" });
  });

  it("says that the active Python's torch is used", async () => {
    process.env.XDG_CACHE_HOME = folder();
    const torch = fakeLibtorch(folder());
    process.env.PATH = `${fakePython(folder(), `echo ${torch}`)}:${environment.PATH}`;
    const { stdout, stderr } = await run("install-runtime");
    expect(stdout).toBe(`libtorch 2.13.0 (cpu) is there already: ${torch}\n`);
    expect(stderr).toMatch(/active Python's torch .* used as it is; --force/);
  });
});
