import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { installRuntime } from "../../../../lib/runtime/install/install-runtime";
import type { InstallProgress } from "../../../../lib/runtime/install/install-runtime";
import { hashFile, readRuntimeRecord } from "../../../../lib/runtime/install/record";
import { findLibtorch } from "../../../../lib/runtime/libtorch";
import { fakeLibtorch, fakePython } from "../../../support/fake-libtorch";
import { fakeWheel } from "../../../support/fake-wheel";
import type { WheelOptions } from "../../../support/fake-wheel";
import { temporaryFolders } from "../../../support/temporary";

const folder = temporaryFolders();
const environment = { ...process.env };
let cache: string;

beforeEach(() => {
  cache = folder();
  process.env = { ...environment, XDG_CACHE_HOME: cache, KPOP_LIBTORCH: "", KPOP_TORCH_INDEX_URL: "" };
});
afterEach(() => {
  process.env = { ...environment };
});

const runtimes = () => join(cache, "kpop-native/runtime");
const target = () => join(runtimes(), "torch-2.13.0-cpu");

const wheel = (options?: WheelOptions): string => fakeWheel(folder(), options);

function tar(): string {
  const root = folder();
  fakeLibtorch(join(root, "libtorch"));
  spawnSync("tar", ["-czf", "libtorch.tar.gz", "libtorch"], { cwd: root });
  return join(root, "libtorch.tar.gz");
}

function cut(path: string): string {
  truncateSync(path, Math.floor(statSync(path).size / 2));
  return path;
}

/** Changes a byte of the first library, which lies uncompressed at the front. */
function changed(path: string): string {
  const bytes = readFileSync(path);
  bytes[bytes.indexOf("\x7fELF", 0, "latin1") + 20]! ^= 1;
  writeFileSync(path, bytes);
  return path;
}

function namedFolder(): string {
  const path = join(folder(), "torch.whl");
  mkdirSync(path);
  return path;
}

/** A python3 whose pip reports `requirements` and "downloads" the wheel; its calls are written down. */
function pip(wheelPath: string, requirements: string[] = [], download = `cp "${wheelPath}" "$dest"`): string {
  const root = folder();
  const calls = join(root, "calls");
  const report = JSON.stringify({ version: "1", install: [{ metadata: { requires_dist: requirements } }] });
  process.env.PATH = `${fakePython(
    join(root, "bin"),
    `echo "$@" >> ${calls}
     case "$*" in
       *--version*) echo "pip 24.2 from somewhere" ;;
       *--report*) echo '${report}' ;;
       *download*) while [ "$1" != --dest ]; do shift; done; dest=$2
         echo "Progress 50 of 100"; ${download} ;;
       *) exit 1 ;;
     esac`,
  )}:${environment.PATH}`;
  return calls;
}

describe("installing from an archive", () => {
  it("puts it where the search finds it, with a record of what it is", async () => {
    const from = wheel();
    const installed = await installRuntime({ from });
    expect(installed).toEqual({
      directory: join(target(), "torch"),
      version: "2.13.0",
      flavour: "cpu",
      source: "runtime",
      installed: true,
      archives: [{ name: expect.stringMatching(/\.whl$/), sha256: await hashFile(from) }],
    });
    expect(findLibtorch()).toMatchObject({ source: "runtime", directory: installed.directory });
    const record = readRuntimeRecord(target());
    expect(Object.keys(record?.files ?? {})).toEqual(
      ["libc10.so", "libtorch.so", "libtorch_cpu.so"].map((name) => `torch/lib/${name}`),
    );
    expect(readdirSync(runtimes())).toEqual(["torch-2.13.0-cpu"]);
  });

  it("does nothing when it is there, unless forced", async () => {
    await installRuntime({ from: wheel() });
    expect(await installRuntime({ from: wheel({ filling: "other" }) })).toMatchObject({ installed: false });
    expect(await installRuntime({ from: wheel({ filling: "other" }), force: true })).toMatchObject({
      installed: true,
    });
    expect(readFileSync(join(target(), "torch/lib/libtorch.so"), "utf8")).toContain("other");
    expect(readdirSync(runtimes())).toEqual(["torch-2.13.0-cpu"]);
  });

  it("replaces one whose libraries are not all there", async () => {
    await installRuntime({ from: wheel() });
    writeFileSync(join(target(), "torch/lib/libtorch_cpu.so"), "cut");
    expect(await installRuntime({ from: wheel() })).toMatchObject({ installed: true });
    writeFileSync(join(target(), "kpop-runtime.json"), "{}");
    expect(await installRuntime({ from: wheel() })).toMatchObject({ installed: true });
  });

  it("replaces one that the search would pass over, though its lengths are right", async () => {
    await installRuntime({ from: wheel() });
    const library = join(target(), "torch/lib/libtorch_cpu.so");
    writeFileSync(library, readFileSync(library).fill(0));
    expect(await installRuntime({ from: wheel() })).toMatchObject({ installed: true });
    expect(findLibtorch().source).toBe("runtime");
  });

  it("needs neither Python nor a network", async () => {
    process.env.PATH = "/nowhere";
    expect(await installRuntime({ from: wheel() })).toMatchObject({ installed: true });
  });

  it("takes an archive with the SHA-256 that is asked for, and refuses any other", async () => {
    const from = wheel();
    const sha256 = await hashFile(from);
    await expect(installRuntime({ from, sha256: sha256.replace(/^./, "x") })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await expect(installRuntime({ from: wheel({ filling: "x" }), sha256 })).rejects.toMatchObject({
      code: "IO_ERROR",
      message: expect.stringMatching(new RegExp(`SHA-256 is \\w{64} but ${sha256} was expected`)),
    });
    expect(readdirSync(runtimes())).toEqual([]);
    expect(await installRuntime({ from, sha256: sha256.toUpperCase() })).toMatchObject({ installed: true });
  });

  it("refuses musl before it asks pip for a wheel that there is none of", async () => {
    const report = jest.spyOn(process.report, "getReport").mockReturnValue({ header: {} });
    try {
      await expect(installRuntime()).rejects.toMatchObject({
        code: "ADDON_MISSING",
        message: expect.stringMatching(/musl.*use a glibc image/),
      });
    } finally {
      report.mockRestore();
    }
  });

  it("says which folder it cannot write, and the way round", async () => {
    writeFileSync(join(cache, "kpop-native"), "a file in the folder's place");
    await expect(installRuntime({ from: wheel() })).rejects.toMatchObject({
      code: "IO_ERROR",
      message: expect.stringMatching(/Cannot install into .*kpop-native.*XDG_CACHE_HOME/),
    });
  });

  it("lets installations at the same time wait for the first", async () => {
    const messages: string[] = [];
    const onProgress = ({ phase }: InstallProgress) => void messages.push(phase);
    const from = wheel();
    const all = await Promise.all([1, 2, 3].map(async () => await installRuntime({ from, onProgress })));
    expect(all.map(({ installed }) => installed).sort()).toEqual([false, false, true]);
    expect(messages.filter((phase) => phase === "wait")).toHaveLength(2);
  });

  it.each<[string, () => Parameters<typeof installRuntime>[0], string, RegExp]>([
    ["another version", () => ({ from: wheel({ version: "2.12.0" }) }), "LIBTORCH_INCOMPATIBLE", /2\.12\.0/],
    ["a CUDA build for the CPU", () => ({ from: wheel({ cuda: true }) }), "LIBTORCH_INCOMPATIBLE", /--cuda/],
    [
      "a CPU build for CUDA",
      () => ({ from: wheel(), flavour: "cuda" }),
      "LIBTORCH_INCOMPATIBLE",
      /CPU build/,
    ],
    ["a file of another kind", () => ({ from: "/etc/passwd" }), "UNSUPPORTED_FORMAT", /\.whl.*\/etc\/passwd/],
    ["a folder", () => ({ from: namedFolder() }), "UNSUPPORTED_FORMAT", /\.whl/],
    ["a wheel cut off", () => ({ from: cut(wheel()) }), "IO_ERROR", /not a usable zip/],
    ["a tar cut off", () => ({ from: cut(tar()) }), "IO_ERROR", /not a usable tar/],
    [
      "a wheel with a changed byte",
      () => ({ from: changed(wheel()) }),
      "IO_ERROR",
      /checksum of .* does not fit/,
    ],
    ["no such file", () => ({ from: "/nowhere/torch.whl" }), "NOT_FOUND", /does not exist/],
    ["an unknown flavour", () => ({ flavour: "rocm" }) as never, "INVALID_ARGUMENT", /flavour/],
    ["an unknown option", () => ({ cuda: true }) as never, "INVALID_ARGUMENT", /"cuda"/],
  ])("refuses %s and leaves nothing behind", async (_name, options, code, words) => {
    await expect(installRuntime(options())).rejects.toMatchObject({
      code,
      message: expect.stringMatching(words),
    });
    expect(existsSync(runtimes()) ? readdirSync(runtimes()) : []).toEqual([]);
  });

  it("leaves nothing behind when it is aborted", async () => {
    const abort = new AbortController();
    const running = installRuntime({ from: wheel(), signal: abort.signal, onProgress: () => abort.abort() });
    await expect(running).rejects.toMatchObject({ code: "ABORTED" });
    expect(readdirSync(runtimes())).toEqual([]);
  });
});

describe("installing through pip", () => {
  it("downloads the pinned wheel without its Python dependencies", async () => {
    const calls = pip(wheel());
    const seen: InstallProgress[] = [];
    const installed = await installRuntime({ onProgress: (progress) => void seen.push(progress) });
    expect(installed.installed).toBe(true);
    expect(readFileSync(calls, "utf8")).toMatch(/download .*--no-deps torch==2\.13\.0\n/);
    expect(seen).toContainEqual({ phase: "download", message: "downloading", done: 50, total: 100 });
  });

  it("asks the index that the option or KPOP_TORCH_INDEX_URL names", async () => {
    const calls = pip(wheel());
    process.env.KPOP_TORCH_INDEX_URL = "file:///from-environment";
    await installRuntime();
    await installRuntime({ force: true, indexUrl: "file:///from-option" });
    const downloads = readFileSync(calls, "utf8")
      .split("\n")
      .filter((line) => line.includes("download"));
    expect(downloads[0]).toContain("--index-url file:///from-environment");
    expect(downloads[1]).toContain("--index-url file:///from-option");
  });

  it("does not download a CUDA build for the CPU, and says what to do", async () => {
    const calls = pip(wheel({ cuda: true }), [
      "filelock",
      "nvidia-cudnn-cu13==9.9; platform_system == 'Linux'",
    ]);
    await expect(installRuntime()).rejects.toMatchObject({
      code: "LIBTORCH_MISSING",
      message: expect.stringMatching(/CUDA build.*KPOP_TORCH_INDEX_URL.*--index-url.*--cuda/),
    });
    expect(readFileSync(calls, "utf8")).not.toContain("download");
    expect(readdirSync(runtimes())).toEqual([]);
  });

  it("shows pip's own last words when it fails", async () => {
    pip("", [], "echo 'ERROR: No matching distribution found' >&2; exit 1");
    await expect(installRuntime()).rejects.toMatchObject({
      code: "LIBTORCH_MISSING",
      message: expect.stringMatching(/pip download[^]*exit code 1[^]*No matching distribution/),
    });
    expect(readdirSync(runtimes())).toEqual([]);
  });

  it("keeps the password of an index out of the message", async () => {
    pip("", [], "exit 1");
    await expect(installRuntime({ indexUrl: "file://user:secret@index/simple" })).rejects.toMatchObject({
      message: expect.not.stringContaining("secret"),
    });
  });

  it("says what is needed where there is no pip", async () => {
    process.env.PATH = "/nowhere";
    await expect(installRuntime()).rejects.toMatchObject({
      code: "LIBTORCH_MISSING",
      message: expect.stringMatching(/pip.*--from FILE.*KPOP_LIBTORCH/),
    });
  });
});

describe("where the active Python has a torch", () => {
  /** Its python3 says where its torch is, and fails as pip. */
  function python(options: Parameters<typeof fakeLibtorch>[1] = {}): string {
    const root = folder();
    const torch = fakeLibtorch(join(root, "site-packages/torch"), options);
    const script = `[ "$1" = -c ] && echo ${torch}`;
    process.env.PATH = `${fakePython(join(root, "bin"), script)}:${environment.PATH}`;
    return torch;
  }

  it("uses it as it is when version and flavour fit", async () => {
    const torch = python();
    for (const options of [{}, { flavour: "cpu" as const }]) {
      expect(await installRuntime(options)).toEqual({
        directory: torch,
        version: "2.13.0",
        flavour: "cpu",
        source: "python",
        installed: false,
        archives: [],
      });
    }
    expect(existsSync(runtimes())).toBe(false);
    expect(findLibtorch()).toMatchObject({ source: "python", directory: torch });
  });

  it("takes its CUDA build unless the CPU one is asked for", async () => {
    python({ cuda: true });
    expect(await installRuntime()).toMatchObject({ source: "python", flavour: "cuda" });
    expect(await installRuntime({ flavour: "cuda" })).toMatchObject({ source: "python" });
    await expect(installRuntime({ flavour: "cpu" })).rejects.toMatchObject({ code: "LIBTORCH_MISSING" });
  });

  it("installs where an archive is named, or it is forced", async () => {
    python();
    expect(await installRuntime({ from: wheel() })).toMatchObject({ source: "runtime", installed: true });
    await expect(installRuntime({ force: true })).rejects.toMatchObject({ code: "LIBTORCH_MISSING" });
  });

  it.each([
    ["is of another version", { version: "2.12.0" }],
    ["does not say its version", { version: null }],
  ])("installs when that torch %s", async (_name, options) => {
    python(options);
    await expect(installRuntime()).rejects.toMatchObject({ message: expect.stringContaining("pip") });
  });

  it("installs when that torch is damaged", async () => {
    truncateSync(join(python(), "lib/libtorch.so"), 20);
    await expect(installRuntime()).rejects.toMatchObject({ message: expect.stringContaining("pip") });
  });
});
