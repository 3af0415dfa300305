import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { DoctorCheck, DoctorReport } from "../../../lib/runtime/doctor";
import {
  compileLibrary,
  elfHeader,
  fakeLibtorch,
  fakePython,
  needing,
  ofFutureGlibc,
} from "../../support/fake-libtorch";
import { addNativeFiles, packageCopy, runScript } from "../../support/package-copy";
import { temporaryFolders } from "../../support/temporary";

const folder = temporaryFolders();
let root: string;

beforeAll(() => {
  root = packageCopy(folder());
  addNativeFiles(root);
});

interface Machine {
  packageRoot?: string;
  env?: NodeJS.ProcessEnv;
  under?: readonly string[];
  before?: string;
}

/** What doctor says last on a machine that has no libtorch but what `env` names. */
async function verdict({
  packageRoot = root,
  env = {},
  under = [],
  before = "",
}: Machine): Promise<DoctorCheck> {
  const code = `${before};
    require("./lib/runtime/doctor").doctor().then((report) => console.log(JSON.stringify(report)));`;
  const bare = { KPOP_LIBTORCH: "", XDG_CACHE_HOME: folder(), LD_LIBRARY_PATH: "", PREBUILDS_ONLY: "" };
  const noPython = `${fakePython(join(folder(), "bin"), "exit 1")}:${process.env.PATH}`;
  const { ended } = runScript(packageRoot, code, { env: { ...bare, PATH: noPython, ...env }, under });
  const { stdout, stderr } = await ended;
  if (stdout === "") throw new Error(`doctor said nothing: ${stderr}`);
  const report = JSON.parse(stdout) as DoctorReport;
  expect(report.ok).toBe(false);
  return report.checks.at(-1)!;
}

/** A libtorch whose libraries can be opened; the last of them is compiled from `source`. */
function loadable(source: string, linked: readonly string[] = [], place = folder()): string {
  const version = "unsigned long long aoti_torch_abi_version(void) { return (2ull << 56) | (13ull << 48); }";
  compileLibrary(place, "libc10.so", "int c10;");
  compileLibrary(place, "libtorch_cpu.so", version);
  compileLibrary(place, "libtorch.so", source, linked);
  return place;
}

function brokenPackage(change: (release: string) => void): string {
  const copy = packageCopy(folder());
  addNativeFiles(copy);
  change(join(copy, "build/Release"));
  return copy;
}

const inRuntime = (cache: string, flavour = "cpu") =>
  join(cache, `kpop-native/runtime/torch-2.13.0-${flavour}/torch`);

describe("doctor, when libtorch", () => {
  it("is missing everywhere, has it installed", async () => {
    expect(await verdict({})).toEqual({
      name: "libtorch",
      ok: false,
      found: "No libtorch 2.13.0 was found",
      remedy: "Run `npx kpop-native install-runtime`, or set KPOP_LIBTORCH to the folder of one",
    });
  });

  it("is missing where KPOP_LIBTORCH points, says so though another could be found", async () => {
    const cache = folder();
    fakeLibtorch(inRuntime(cache));
    expect(await verdict({ env: { KPOP_LIBTORCH: "/nowhere", XDG_CACHE_HOME: cache } })).toMatchObject({
      name: "libtorch",
      found: expect.stringMatching(/^KPOP_LIBTORCH cannot be used: \/nowhere holds no libtorch/),
      remedy: "Point it at another libtorch, or unset it",
    });
  });

  it("is of another version in the active Python, has the right one installed beside it", async () => {
    const torch = fakeLibtorch(folder(), { version: "2.11.0+cu130" });
    const PATH = `${fakePython(join(folder(), "bin"), `echo ${torch}`)}:${process.env.PATH}`;
    expect(await verdict({ env: { PATH } })).toMatchObject({
      name: "libtorch",
      found: expect.stringContaining(`passed over: the libtorch at ${torch} is 2.11.0 but 2.13.0 is needed`),
      remedy: expect.stringMatching(/^Run `npx kpop-native install-runtime`/),
    });
  });

  it("tells another version only once it is loaded, says which", async () => {
    const place = loadable("int torch;");
    const other = "unsigned long long aoti_torch_abi_version(void) { return (2ull << 56) | (12ull << 48); }";
    compileLibrary(place, "libtorch_cpu.so", other);
    expect(await verdict({ env: { KPOP_LIBTORCH: place } })).toMatchObject({
      name: "load",
      found: "libtorch 2.12.0, but the add-on was built for 2.13.0",
      remedy: "Point KPOP_LIBTORCH at another libtorch, or unset it",
    });
  });

  it("has the old C++ ABI, says which is needed", async () => {
    const place = fakeLibtorch(folder());
    const symbol = Buffer.from("\0_ZN3c105ErrorC1ENS_14SourceLocationESs\0");
    writeFileSync(join(place, "lib/libc10.so"), Buffer.concat([elfHeader(), symbol]));
    expect(await verdict({ env: { KPOP_LIBTORCH: place } })).toMatchObject({
      name: "libtorch",
      found: expect.stringMatching(/old C\+\+ ABI, and the C\+\+11 ABI .* is needed$/),
      remedy: "Point it at another libtorch, or unset it",
    });
  });

  it("has the right version but not the symbols, takes it for another build", async () => {
    expect(await verdict({ env: { KPOP_LIBTORCH: loadable("int torch;") } })).toMatchObject({
      name: "load",
      found: expect.stringMatching(
        /kpop_native\.node: it was built for another libtorch \(.*undefined symbol/,
      ),
      remedy: expect.stringMatching(/^Rebuild the add-on .*install-runtime/),
    });
  });

  it.each(["cpu", "cuda"] as const)(
    "is a truncated %s runtime, passes over it and has it installed again",
    async (flavour) => {
      const cache = folder();
      const place = fakeLibtorch(inRuntime(cache, flavour), { cuda: flavour === "cuda" });
      truncateSync(join(place, "lib/libtorch_cpu.so"), 40);
      expect(await verdict({ env: { XDG_CACHE_HOME: cache } })).toMatchObject({
        name: "libtorch",
        found: expect.stringMatching(/libtorch_cpu\.so cannot be used: it is not a shared library/),
        remedy: expect.stringMatching(/^Run `npx kpop-native install-runtime`/),
      });
    },
  );

  it("lacks a library that it needs, has it replaced by source and flavour", async () => {
    const cache = folder();
    const place = loadable("int torch;", needing(folder(), "libkpop_absent.so"), inRuntime(cache));
    const missing = { found: expect.stringMatching(/a library that it needs is missing \(libkpop_absent/) };
    expect(await verdict({ env: { XDG_CACHE_HOME: cache } })).toMatchObject({
      ...missing,
      remedy: "Run `npx kpop-native install-runtime --force`",
    });
    expect(await verdict({ env: { KPOP_LIBTORCH: place } })).toMatchObject({
      ...missing,
      remedy: "Point KPOP_LIBTORCH at another libtorch, or unset it",
    });
  });

  it("is a CUDA one without NVIDIA's driver, says so", async () => {
    const place = loadable("int torch;", needing(folder(), "libcuda.so.1"));
    expect(await verdict({ env: { KPOP_LIBTORCH: place } })).toMatchObject({
      name: "load",
      found: expect.stringMatching(/NVIDIA's driver is not here \(libcuda\.so\.1/),
      remedy: expect.stringMatching(/^Install the driver.*--gpus all.*--cpu/),
    });
  });

  it("needs a newer glibc, asks for a newer system", async () => {
    const place = loadable(...ofFutureGlibc(folder()));
    expect(await verdict({ env: { KPOP_LIBTORCH: place } })).toMatchObject({
      name: "load",
      found: expect.stringMatching(/C\+\+ library is older.*version `GLIBC_2\.99' not found/),
      remedy: "Use a newer Linux distribution or container image",
    });
  });
});

describe("doctor, when the add-on", () => {
  it("is missing, says where it was looked for", async () => {
    const packageRoot = packageCopy(folder());
    expect(await verdict({ packageRoot })).toMatchObject({
      name: "addon",
      found: expect.stringMatching(/neither in .*prebuilds.* nor in .*build/),
      remedy: expect.stringMatching(/^Reinstall the package/),
    });
  });

  it.each(["kpop_loader.node", "kpop_native.node"])("is truncated in %s, has it replaced", async (name) => {
    const packageRoot = brokenPackage((release) => truncateSync(join(release, name), 20_000));
    expect(await verdict({ packageRoot })).toMatchObject({
      name: "addon",
      found: expect.stringMatching(
        new RegExp(`${name} cannot be loaded: the file is damaged \\(it is truncated`),
      ),
      remedy: expect.stringMatching(/^Reinstall the package/),
    });
  });

  it("needs a newer glibc, asks for a newer system", async () => {
    const packageRoot = brokenPackage((release) => {
      const [source, linked] = ofFutureGlibc(folder());
      cpSync(compileLibrary(folder(), "kpop_loader.node", source, linked), join(release, "kpop_loader.node"));
    });
    expect(await verdict({ packageRoot })).toMatchObject({
      name: "addon",
      found: expect.stringMatching(/C\+\+ library is older.*GLIBC_2\.99/),
      remedy: expect.stringMatching(/^Use a newer Linux distribution/),
    });
  });
});

describe("doctor on musl", () => {
  it("refuses before anything else, and names the way out", async () => {
    // Node on musl gives a report without a version of glibc.
    const before = "process.report.getReport = () => ({ header: {} })";
    expect(await verdict({ before })).toEqual({
      name: "platform",
      ok: false,
      found: expect.stringMatching(/needs glibc.*this Node runs on musl/),
      remedy: "Use a glibc image such as Debian or Ubuntu",
    });
  });
});

/** Root reads everything, unless it gives that up. */
const asOwner = process.geteuid!() === 0 ? ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] : [];
const canGiveUp = asOwner.length === 0 || spawnSync(asOwner[0]!, [...asOwner.slice(1), "true"]).status === 0;

// Skipped only for a root that cannot give up its rights (no setpriv).
(canGiveUp ? describe : describe.skip)("doctor without permission to read", () => {
  it.each(["lib/libc10.so", "lib"])("%s of libtorch, says how to give it", async (name) => {
    const place = fakeLibtorch(folder());
    chmodSync(join(place, name), 0);
    const check = await verdict({ env: { KPOP_LIBTORCH: place }, under: asOwner });
    chmodSync(join(place, name), 0o755);
    expect(check).toMatchObject({
      name: "libtorch",
      found: expect.stringMatching(/cannot be used: .*permission denied$/),
      remedy: expect.stringMatching(/^Run `chmod -R a\+rX .*` as its owner, or point it at another libtorch/),
    });
  });

  it("an installed runtime, does not take it for missing", async () => {
    const cache = folder();
    const place = fakeLibtorch(inRuntime(cache));
    chmodSync(place, 0);
    const check = await verdict({ env: { XDG_CACHE_HOME: cache }, under: asOwner });
    chmodSync(place, 0o755);
    expect(check).toMatchObject({
      name: "libtorch",
      found: expect.stringMatching(/passed over: .*permission denied; run `chmod/),
    });
  });

  it("the add-on, says so", async () => {
    const packageRoot = brokenPackage((release) => chmodSync(join(release, "kpop_native.node"), 0));
    expect(await verdict({ packageRoot, under: asOwner })).toMatchObject({
      name: "addon",
      found: expect.stringMatching(/kpop_native\.node cannot be loaded.*permission denied/),
      remedy: expect.stringMatching(/^Check its permissions/),
    });
  });
});

const mounting = ["unshare", "--map-root-user", "--mount"];
const canMount =
  spawnSync(mounting[0]!, [...mounting.slice(1), "mount", "-t", "tmpfs", "none", "/mnt"]).status === 0;

// Skipped where a process may not have mounts of its own (some containers).
(canMount ? describe : describe.skip)("doctor where files may not be executed", () => {
  /** Runs a command with `source` copied into `place`, on a file system that is mounted noexec. */
  function noexec(source: string, place: string): string[] {
    mkdirSync(place, { recursive: true });
    const script = `mount -t tmpfs -o noexec none "${place}" && cp -r "${source}/." "${place}" && exec "$@"`;
    return [...mounting, "sh", "-c", script, "sh"];
  }

  it("names the mount as the cause, for libtorch", async () => {
    const place = join(folder(), "noexec");
    const under = noexec(loadable("int torch;"), place);
    expect(await verdict({ env: { KPOP_LIBTORCH: place }, under })).toMatchObject({
      name: "load",
      found: expect.stringMatching(/libc10\.so: the file may not be executed.*failed to map segment/),
      remedy: "Check its permissions, and that its file system is not mounted noexec",
    });
  });

  it("names the mount as the cause, for the add-on", async () => {
    const packageRoot = packageCopy(folder());
    const under = noexec(join(root, "build"), join(packageRoot, "build"));
    expect(await verdict({ packageRoot, under })).toMatchObject({
      name: "addon",
      found: expect.stringMatching(/kpop_loader\.node cannot be loaded: the file may not be executed/),
      remedy: expect.stringMatching(/noexec/),
    });
  });
});
