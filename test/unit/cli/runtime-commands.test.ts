import { Command } from "commander";
import { registerDoctor } from "../../../lib/cli/commands/doctor";
import { registerInstallRuntime } from "../../../lib/cli/commands/install-runtime";
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
});
