import { join, resolve } from "node:path";
import { binary } from "../../../package.json";
import { findLibtorch } from "../../../lib/runtime/libtorch";
import { TORCH_VERSION } from "../../../lib/runtime/torch-version";
import { compileLibrary } from "../../support/fake-libtorch";
import { evaluateScript } from "../../support/evaluate-script";
import { temporaryFolders } from "../../support/temporary";

const folder = temporaryFolders();
const LOCAL = resolve(__dirname, "../../../build/Release");

interface Facts {
  needed: string[];
  searchPath: boolean;
  symbolTable: boolean;
  versions: Record<string, string>;
}

const factsOf = (path: string): Facts =>
  evaluateScript("prebuild/elf-facts.mjs", `m.elfFacts(${JSON.stringify(path)})`) as Facts;

const newest = (versions: string[]): string =>
  evaluateScript(
    "prebuild/elf-facts.mjs",
    `${JSON.stringify(versions)}.sort(m.compareVersions).at(-1)`,
  ) as string;

describe("elfFacts", () => {
  it("sees a symbol table that was not stripped", () => {
    const root = folder();
    compileLibrary(root, "libplain.so", "int plain(void) { return 1; }");
    expect(factsOf(join(root, "lib", "libplain.so"))).toMatchObject({ searchPath: false, symbolTable: true });
  });

  it("sees a search path", () => {
    const root = folder();
    compileLibrary(root, "libbound.so", "int bound(void) { return 1; }", ["-Wl,-rpath,/somewhere", "-s"]);
    expect(factsOf(join(root, "lib", "libbound.so"))).toMatchObject({ searchPath: true, symbolTable: false });
  });

  it("compares versions as numbers", () => {
    expect(newest(["2.9", "2.28", "2.3.4", "2.2.5"])).toBe("2.28");
  });

  it("says which file it cannot read", () => {
    expect(() => factsOf("/nowhere/none.node")).toThrow(/readelf cannot read \/nowhere\/none\.node/);
  });
});

describe("prebuildFaults", () => {
  const fit: Facts = {
    needed: ["libtorch.so", "libtorch_cpu.so", "libc10.so", "libstdc++.so.6", "libc.so.6"],
    searchPath: false,
    symbolTable: false,
    versions: { GLIBC: binary.glibc, GLIBCXX: "3.4.9" },
  };
  const faultsOf = (change: Partial<Facts>, name = "kpop_native"): string[] =>
    evaluateScript(
      "prebuild/prebuild-faults.mjs",
      `m.prebuildFaults("${name}", ${JSON.stringify({ ...fit, ...change })}, ${JSON.stringify(binary)})`,
    ) as string[];

  it("finds none in a file that fits", () => {
    expect(faultsOf({})).toEqual([]);
  });

  it.each<[string, Partial<Facts>, RegExp]>([
    ["a search path", { searchPath: true }, /search path/],
    ["a symbol table", { symbolTable: true }, /not stripped/],
    ["a library of CUDA", { needed: [...fit.needed, "libcudart.so.13"] }, /needs libcudart\.so\.13/],
    ["no word of libtorch", { needed: fit.needed.slice(1) }, /does not name libtorch\.so/],
    ["a newer glibc", { versions: { GLIBC: "2.34" } }, /GLIBC_2\.34, newer than the GLIBC_2\.28/],
    ["a newer libstdc++", { versions: { GLIBCXX: "3.4.30" } }, /GLIBCXX_3\.4\.30, newer than/],
  ])("names %s", (_what, change, words) => {
    expect(faultsOf(change)).toEqual([expect.stringMatching(words)]);
  });

  it("lets the loader need no libtorch", () => {
    expect(faultsOf({}, "kpop_loader")).toHaveLength(3);
    expect(faultsOf({ needed: ["libc.so.6"] }, "kpop_loader")).toEqual([]);
  });
});

describe("the baseline in package.json", () => {
  const { libraries, version } = findLibtorch({ version: null });
  // Another libtorch may have been built on an older or a newer system.
  (version === TORCH_VERSION ? it : it.skip)(
    "is what the native files and the libtorch they open need, no more and no less",
    () => {
      const files = [join(LOCAL, "kpop_loader.node"), join(LOCAL, "kpop_native.node"), ...libraries].map(
        factsOf,
      );
      const needed = (set: string): string => newest(files.map(({ versions }) => versions[set] ?? "0"));
      expect({ glibc: needed("GLIBC"), glibcxx: needed("GLIBCXX"), cxxabi: needed("CXXABI") }).toEqual({
        glibc: binary.glibc,
        glibcxx: binary.glibcxx,
        cxxabi: binary.cxxabi,
      });
    },
  );
});
