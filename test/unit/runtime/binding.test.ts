import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { findAddonFiles } from "../../../lib/runtime/addon-files";
import { addon, openLoader } from "../../../lib/runtime/binding";
import { findLibtorch } from "../../../lib/runtime/libtorch";
import { compileLibrary, fakeLibtorch } from "../../support/fake-libtorch";
import { temporaryFolders } from "../../support/temporary";

const folder = temporaryFolders();
const files = findAddonFiles();
const loader = openLoader(files);
const libtorch = findLibtorch({ version: loader.builtForTorch });

const LOAD = `
const load = (path) => { const module = { exports: {} }; process.dlopen(module, path); return module.exports; };
const [loaderPath, addonPath, ...libraries] = JSON.parse(process.env.KPOP_TEST_FILES);
`;
const env = {
  ...process.env,
  LD_LIBRARY_PATH: "",
  KPOP_TEST_FILES: JSON.stringify([files.loader, files.addon, ...libtorch.libraries]),
};

function inNode(script: string): string {
  const { stdout, stderr } = spawnSync(process.execPath, ["-e", LOAD + script], { env, encoding: "utf8" });
  return stdout + stderr;
}

describe("the two native files", () => {
  it.each([files.loader, files.addon])("%s carries no search path of the machine it was built on", (path) => {
    const { stdout } = spawnSync("readelf", ["-d", path], { encoding: "utf8" });
    expect(stdout).toContain("(NEEDED)");
    expect(stdout).not.toMatch(/RPATH|RUNPATH/);
  });

  it("need libtorch only in the add-on, by name", () => {
    const needed = (path: string) => spawnSync("readelf", ["-d", path], { encoding: "utf8" }).stdout;
    for (const name of ["libtorch.so", "libtorch_cpu.so", "libc10.so"]) {
      expect(needed(files.addon)).toContain(`[${name}]`);
      expect(needed(files.loader)).not.toContain(`[${name}]`);
    }
  });

  it("fail without the loader, because nothing says where libtorch is", () => {
    expect(inNode("load(addonPath)")).toMatch(/lib(torch|torch_cpu|c10)\.so: cannot open shared object file/);
  });

  it("load once the loader has opened libtorch, and agree on its version", () => {
    const script =
      "const { version } = load(loaderPath).open(libraries); console.log(version, load(addonPath).builtForTorch)";
    expect(inNode(script)).toBe(`${libtorch.version} ${loader.builtForTorch}\n`);
  });

  it("load once the loader has opened libtorch on another thread", () => {
    const script =
      "load(loaderPath).openAsync(libraries).then(({ version }) => console.log(version, load(addonPath).builtForTorch))";
    expect(inNode(script)).toBe(`${libtorch.version} ${loader.builtForTorch}\n`);
  });

  it("load in several worker threads at once", async () => {
    const script = `${LOAD}
      load(loaderPath).open(libraries);
      const addon = load(addonPath);
      addon.initialize((failure) => new Error(failure.message));
      require("node:worker_threads").parentPort.postMessage(addon.threads() > 0);`;
    const run = () =>
      new Promise((resolve, reject) =>
        new Worker(script, { eval: true, env }).on("message", resolve).on("error", reject),
      );
    expect(await Promise.all([run(), run(), run()])).toEqual([true, true, true]);
  });
});

describe("the loader", () => {
  it("hands back the linker's words for a file that is not there", async () => {
    const refused = {
      ok: false,
      path: "/nowhere/libnone.so",
      message: expect.stringContaining("cannot open shared object file: No such file or directory") as string,
    };
    expect(loader.open(["/nowhere/libnone.so"])).toEqual(refused);
    expect(await loader.openAsync(["/nowhere/libnone.so"])).toEqual(refused);
  });

  it("hands back the linker's words for a file of other bytes", () => {
    const path = join(folder(), "libjunk.so");
    writeFileSync(path, "no library ".repeat(1000));
    expect(loader.open([path])).toMatchObject({
      ok: false,
      path,
      message: expect.stringMatching(/invalid ELF header/),
    });
  });

  it("opens in order and names the first that fails", () => {
    const root = folder();
    compileLibrary(root, "libfirst.so", "int first(void) { return 1; }");
    const first = join(root, "lib", "libfirst.so");
    expect(loader.open([first, "/nowhere/second.so", "/nowhere/third.so"])).toMatchObject({
      ok: false,
      path: "/nowhere/second.so",
    });
  });

  it("rejects anything but an array", () => {
    expect(() => loader.open("libtorch.so" as unknown as string[])).toThrow("open takes an array of paths");
  });
});

describe("addon", () => {
  it("loads once and gives the same object from then on", () => {
    expect(addon().builtForTorch).toBe(loader.builtForTorch);
    expect(addon()).toBe(addon());
  });

  it.each<[string, () => string, string, RegExp]>([
    [
      "missing",
      () => join(folder(), "none"),
      "LIBTORCH_MISSING",
      /holds no libtorch.*another libtorch, or unset it/,
    ],
    [
      "of another version",
      () => fakeLibtorch(folder(), { version: "2.11.0" }),
      "LIBTORCH_INCOMPATIBLE",
      /is 2\.11\.0/,
    ],
    ["not loadable", () => fakeLibtorch(folder()), "LIBTORCH_INCOMPATIBLE", /cannot be loaded: .*; \w+/],
  ])("explains a libtorch that is %s in one sentence", (_name, make, code, words) => {
    const before = process.env.KPOP_LIBTORCH;
    process.env.KPOP_LIBTORCH = make();
    try {
      jest.isolateModules(() => {
        const fresh = jest.requireActual<typeof import("../../../lib/runtime/binding")>(
          "../../../lib/runtime/binding",
        );
        expect(() => fresh.addon()).toThrow(
          expect.objectContaining({ code, message: expect.stringMatching(words) }),
        );
      });
    } finally {
      if (before === undefined) delete process.env.KPOP_LIBTORCH;
      else process.env.KPOP_LIBTORCH = before;
    }
  });
});
