import {
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { doctor } from "../../../lib/runtime/doctor";
import { writeRuntimeRecord } from "../../../lib/runtime/install/record";
import { findLibtorch } from "../../../lib/runtime/libtorch";
import { compileLibrary, fakeLibtorch } from "../../support/fake-libtorch";
import { temporaryFolders } from "../../support/temporary";

const folder = temporaryFolders();
const real = findLibtorch({ version: null });
const environment = { ...process.env };

afterEach(() => {
  process.env = { ...environment };
});

/** The real libtorch under another name, its libraries as links, so that one can be replaced. */
function linkedLibtorch(target: string): string {
  mkdirSync(join(target, "lib"), { recursive: true });
  const source = join(real.directory, "lib");
  for (const name of readdirSync(source).filter((each) => each.includes(".so"))) {
    symlinkSync(join(source, name), join(target, "lib", name));
  }
  return target;
}

function compiled(source: string): string {
  const root = folder();
  for (const name of ["libc10.so", "libtorch_cpu.so", "libtorch.so"]) {
    compileLibrary(root, name, name === "libtorch.so" ? source : `int in_${name.replace(/\W/g, "_")};`);
  }
  return root;
}

async function diagnose(libtorch: string, options = {}) {
  process.env.KPOP_LIBTORCH = libtorch;
  const report = await doctor(options);
  return { report, last: report.checks.at(-1) };
}

describe("doctor on a machine that works", () => {
  it("reports what was found and is content", async () => {
    const { report } = await diagnose(real.directory);
    expect(report).toMatchObject({
      ok: true,
      node: process.versions.node,
      platform: "linux-x64",
      glibc: expect.stringMatching(/^2\.\d+$/),
      addon: { kind: "local", path: expect.stringMatching(/kpop_native\.node$/) },
      libtorch: {
        path: real.directory,
        version: real.version,
        source: "KPOP_LIBTORCH",
        flavour: real.flavour,
      },
      cpuCapability: expect.stringMatching(/^\w+/),
      threads: expect.any(Number),
    });
    expect(report.devices[0]).toBe("cpu");
    expect(report.checks.map(({ name }) => name)).toEqual([
      "platform",
      "addon",
      "libtorch",
      "load",
      "cpu",
      "gpu",
    ]);
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
  });

  it("works when libtorch stands somewhere else than where the add-on was built", async () => {
    const { report } = await diagnose(linkedLibtorch(folder()));
    expect(report.ok).toBe(true);
  });

  it("takes no unknown option", async () => {
    await expect(doctor({ timeout: 3 } as object)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("doctor on a machine that does not", () => {
  it("says that libtorch is missing, and the way to get it", async () => {
    Object.assign(process.env, { PATH: "/nowhere", XDG_CACHE_HOME: folder(), LD_LIBRARY_PATH: "" });
    const { report, last } = await diagnose("");
    expect(report.ok).toBe(false);
    expect(last).toMatchObject({
      name: "libtorch",
      ok: false,
      found: expect.stringMatching(/^No libtorch .* was found/),
      remedy: expect.stringMatching(/^Run `npx kpop-native install-runtime`/),
    });
  });

  it("says that the version is another", async () => {
    const { report, last } = await diagnose(fakeLibtorch(folder(), { version: "2.9.1" }));
    expect(report).toMatchObject({ ok: false, libtorch: null });
    expect(last).toMatchObject({
      name: "libtorch",
      found: expect.stringContaining("2.9.1"),
      remedy: expect.any(String),
    });
  });

  it("says that a library is truncated", async () => {
    const root = linkedLibtorch(folder());
    const broken = join(root, "lib", "libc10.so");
    copyOver(broken);
    truncateSync(broken, 300_000);
    const { last } = await diagnose(root);
    expect(last).toMatchObject({
      name: "libtorch",
      ok: false,
      found: expect.stringMatching(/libc10\.so.*truncated/),
    });
  });

  it("says that a library holds other bytes", async () => {
    const root = linkedLibtorch(folder());
    const broken = join(root, "lib", "libtorch.so");
    copyOver(broken);
    writeFileSync(broken, Buffer.alloc(20_000, "random?"));
    const { last } = await diagnose(root);
    expect(last).toMatchObject({
      name: "libtorch",
      ok: false,
      found: expect.stringMatching(/not a shared library/),
    });
  });

  it("survives a library that ends the process that opens it", async () => {
    const crash = "__attribute__((constructor)) static void crash(void) { __builtin_trap(); }";
    const { report, last } = await diagnose(compiled(crash));
    expect(report.ok).toBe(false);
    expect(last).toMatchObject({
      name: "load",
      ok: false,
      found: expect.stringMatching(/was ended by SIG(ILL|TRAP)/),
      remedy: expect.stringContaining("KPOP_LIBTORCH"),
    });
  });

  it("gives up on a library that hangs", async () => {
    const hang = "#include <unistd.h>\n__attribute__((constructor)) static void hang(void) { sleep(60); }";
    const { last } = await diagnose(compiled(hang), { timeoutMs: 500 });
    expect(last).toMatchObject({
      name: "load",
      ok: false,
      found: expect.stringMatching(/gave no answer in 0\.5 s/),
    });
  });

  it("sees an installed runtime whose bytes have changed", async () => {
    const cache = folder();
    const runtime = join(cache, "kpop-native/runtime", `torch-${real.version}-cpu`);
    linkedLibtorch(join(runtime, "torch"));
    const changed = join(runtime, "torch", "lib", "libc10.so");
    copyOver(changed);
    await writeRuntimeRecord(runtime, { version: real.version!, flavour: "cpu", archives: [] });
    process.env.XDG_CACHE_HOME = cache;
    expect((await diagnose("")).report.ok).toBe(true);
    copyOver(changed, (bytes) => bytes.fill(0, 100_000, 101_000));
    const { last } = await diagnose("");
    expect(last).toEqual({
      name: "files",
      ok: false,
      found: "not as installed: torch/lib/libc10.so",
      remedy: "Run `npx kpop-native install-runtime --force`",
    });
  });
});

/** Replaces a link by a copy of what it points at, its bytes changed. */
function copyOver(path: string, change?: (bytes: Buffer) => void): void {
  const bytes = readFileSync(path);
  change?.(bytes);
  rmSync(path);
  writeFileSync(path, bytes);
}
