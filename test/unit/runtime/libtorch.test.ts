import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findLibtorch, searchLibtorch } from "../../../lib/runtime/libtorch";
import { elfHeader, fakeLibtorch, fakePython } from "../../support/fake-libtorch";
import { temporaryFolders } from "../../support/temporary";

const folder = temporaryFolders();

/** A machine with a libtorch in each place that is searched, and an environment that sees only these. */
function machine() {
  const root = folder();
  const places = {
    named: fakeLibtorch(join(root, "named")),
    runtime: fakeLibtorch(join(root, "cache/kpop-native/runtime/torch-2.13.0-cpu/torch")),
    python: fakeLibtorch(join(root, "site-packages/torch")),
    system: fakeLibtorch(join(root, "system")),
  };
  const env: NodeJS.ProcessEnv = {
    HOME: root,
    KPOP_LIBTORCH: places.named,
    XDG_CACHE_HOME: join(root, "cache"),
    PATH: fakePython(join(root, "bin"), `echo ${places.python}`),
    LD_LIBRARY_PATH: `:${join(places.system, "lib")}`,
  };
  return { root, places, env };
}

describe("the search for libtorch", () => {
  it("goes KPOP_LIBTORCH, installed runtime, active Python, system folders", () => {
    const { places, env } = machine();
    const seen = [];
    for (const place of [places.named, places.runtime, places.python, places.system]) {
      const { source, directory } = findLibtorch({ env });
      expect(directory).toBe(place);
      seen.push(source);
      if (source === "KPOP_LIBTORCH") delete env.KPOP_LIBTORCH;
      else rmSync(place, { recursive: true });
    }
    expect(seen).toEqual(["KPOP_LIBTORCH", "runtime", "python", "system"]);
    expect(() => findLibtorch({ env })).toThrow(
      expect.objectContaining({
        code: "LIBTORCH_MISSING",
        message: expect.stringMatching(
          /^No libtorch 2\.13\.0 was found; run .*install-runtime.*KPOP_LIBTORCH/,
        ),
      }),
    );
  });

  it("opens libc10, libtorch_cpu and libtorch in this order, by absolute path", () => {
    const { places, env } = machine();
    const lib = join(places.named, "lib");
    expect(findLibtorch({ env }).libraries).toEqual(
      ["libc10.so", "libtorch_cpu.so", "libtorch.so"].map((name) => join(lib, name)),
    );
  });

  it("does not start Python when an earlier place has one", () => {
    const { env, root } = machine();
    delete env.KPOP_LIBTORCH;
    env.PATH = fakePython(join(root, "slow"), `echo started > ${root}/started`);
    findLibtorch({ env });
    expect(() => rmSync(join(root, "started"))).toThrow("ENOENT");
  });

  it("passes over another version and says so when nothing else is there", () => {
    const { places, env } = machine();
    delete env.KPOP_LIBTORCH;
    fakeLibtorch(places.runtime, { version: "2.11.0+cu130" });
    expect(findLibtorch({ env }).source).toBe("python");
    rmSync(places.python, { recursive: true });
    rmSync(places.system, { recursive: true });
    expect(searchLibtorch({ env })).toEqual({
      found: null,
      refused: [`the libtorch at ${places.runtime} is 2.11.0 but 2.13.0 is needed`],
    });
    expect(() => findLibtorch({ env })).toThrow(/passed over: .* is 2\.11\.0 but 2\.13\.0 is needed/);
  });

  it("takes the version that is asked for, or any", () => {
    const { env, root } = machine();
    env.KPOP_LIBTORCH = fakeLibtorch(join(root, "old"), { version: "2.11.0" });
    expect(findLibtorch({ env, version: "2.11.0" }).version).toBe("2.11.0");
    expect(findLibtorch({ env, version: null }).version).toBe("2.11.0");
  });

  it("takes one of unknown version, which only the loaded library can tell", () => {
    const { env, root } = machine();
    env.KPOP_LIBTORCH = fakeLibtorch(join(root, "bare"), { version: null });
    expect(findLibtorch({ env }).version).toBeNull();
  });

  it("takes a site-packages folder and the folder of the libraries as well", () => {
    const { env, root, places } = machine();
    for (const path of [join(root, "site-packages"), join(places.python, "lib"), places.python]) {
      expect(findLibtorch({ env: { ...env, KPOP_LIBTORCH: path } }).directory).toBe(places.python);
    }
  });

  it("knows a CUDA build by its file", () => {
    const { env, root } = machine();
    env.KPOP_LIBTORCH = fakeLibtorch(join(root, "gpu"), { cuda: true });
    expect(findLibtorch({ env }).flavour).toBe("cuda");
  });

  it("wants headers only where a build needs them", () => {
    const { env, root } = machine();
    expect(() => findLibtorch({ env, headers: true })).toThrow(/has no include\/ to build against/);
    env.KPOP_LIBTORCH = fakeLibtorch(join(root, "full"), { headers: true });
    expect(findLibtorch({ env, headers: true }).hasHeaders).toBe(true);
  });
});

describe("KPOP_LIBTORCH set but unusable is an error, though other places have a libtorch", () => {
  it.each<[string, (path: string) => void, string, RegExp]>([
    ["no such folder", () => undefined, "LIBTORCH_MISSING", /holds no libtorch/],
    ["an empty folder", (path) => mkdirSync(path), "LIBTORCH_MISSING", /holds no libtorch/],
    [
      "another version",
      (path) => void fakeLibtorch(path, { version: "2.12.1" }),
      "LIBTORCH_INCOMPATIBLE",
      /is 2\.12\.1 but 2\.13\.0 is needed/,
    ],
    [
      "a library of random bytes",
      (path) => writeFileSync(join(fakeLibtorch(path), "lib/libtorch.so"), Buffer.alloc(5000, 7)),
      "LIBTORCH_INCOMPATIBLE",
      /libtorch\.so cannot be used: it is not a shared library/,
    ],
    [
      "a truncated library",
      (path) => writeFileSync(join(fakeLibtorch(path), "lib/libtorch_cpu.so"), truncated()),
      "LIBTORCH_INCOMPATIBLE",
      /libtorch_cpu\.so cannot be used: it is truncated/,
    ],
    [
      "a missing library",
      (path) => rmSync(join(fakeLibtorch(path), "lib/libc10.so")),
      "LIBTORCH_INCOMPATIBLE",
      /libc10\.so cannot be used: it does not exist/,
    ],
    [
      "the old C++ ABI",
      (path) =>
        writeFileSync(
          join(fakeLibtorch(path), "lib/libc10.so"),
          Buffer.concat([elfHeader(), Buffer.from("\0_ZN3c105ErrorC1ENS_14SourceLocationESs\0")]),
        ),
      "LIBTORCH_INCOMPATIBLE",
      /old C\+\+ ABI/,
    ],
  ])("%s", (_name, make, code, words) => {
    const { env, root } = machine();
    env.KPOP_LIBTORCH = join(root, "broken");
    make(env.KPOP_LIBTORCH);
    expect(() => findLibtorch({ env })).toThrow(
      expect.objectContaining({ name: "KpopError", code, message: expect.stringMatching(words) }),
    );
  });
});

/** A header that promises a section table behind the end of the file. */
function truncated(): Buffer {
  const header = elfHeader();
  header.writeBigUInt64LE(100_000n, 40);
  return header;
}
