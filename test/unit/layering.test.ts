import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import ts from "typescript";

const root = resolve(__dirname, "..", "..");

/** Folders of lib/ from the ground up; files directly in lib/ are layers by themselves. */
const LAYERS = [
  "version",
  "errors",
  "check",
  "diagnostics",
  "files",
  "hub",
  "runtime",
  "io",
  "text",
  "nn",
  "training",
  "models",
  "options",
  "diffusion",
  "inversion",
  "erasure",
  "certificate",
  "report",
  "index",
  "internal",
  "cli",
];

/** What a layer may import, where that is not every layer below it. */
const NARROWED: Record<string, string[]> = {
  version: [],
  errors: [],
  check: ["errors"],
  diagnostics: [],
  evaluation: LAYERS.slice(0, LAYERS.indexOf("inversion")),
  attack: [...LAYERS.slice(0, LAYERS.indexOf("erasure")), "evaluation"],
  certificate: [...LAYERS.slice(0, LAYERS.indexOf("certificate")), "evaluation"],
  report: [...LAYERS.slice(0, LAYERS.indexOf("report")), "evaluation", "attack"],
  index: [...LAYERS.slice(0, LAYERS.indexOf("index")), "evaluation", "attack"],
  internal: [...LAYERS.slice(0, LAYERS.indexOf("internal")), "evaluation", "attack"],
  cli: ["errors", "index", "internal"],
  examples: ["index"],
  // It measures how fast the example trains.
  bench: ["index", "internal", "examples"],
};

function allowed(layer: string): string[] {
  const own = NARROWED[layer];
  if (own !== undefined) return own;
  const position = LAYERS.indexOf(layer);
  if (position < 0) throw new Error(`lib/${layer} has no place in the order of layers; give it one`);
  return LAYERS.slice(0, position);
}

interface Import {
  from: string;
  to: string;
}

/** Relative imports, re-exports and dynamic imports of a file, as paths from the repository's root without extension. */
function importsOf(file: string, text: string): Import[] {
  const { importedFiles } = ts.preProcessFile(text, true, true);
  return importedFiles
    .map(({ fileName }) => fileName)
    .filter((name) => name.startsWith("."))
    .map((name) => ({ from: file, to: relative(root, resolve(root, dirname(file), name)) }));
}

function layerOf(path: string): string {
  const [top = "", second = ""] = path.split("/");
  return top === "lib" ? second.replace(/\.ts$/, "") : top;
}

/** One sentence for each import that goes up, sideways past the rules, or around the public API. */
function violations(imports: Import[]): string[] {
  return imports.flatMap(({ from, to }) => {
    const [source, target] = [layerOf(from), layerOf(to)];
    if (target === "typings") {
      return source === "runtime" ? [] : [`${from} imports ${to}, which only lib/runtime may`];
    }
    if (source === target || to === "package.json") return [];
    return allowed(source).includes(target)
      ? []
      : [`${from} imports ${to}: ${source} may not import ${target}`];
  });
}

function sources(folder: string): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => join(folder, name));
}

const read = (file: string) => readFileSync(join(root, file), "utf8");

describe("import direction", () => {
  it("goes downward only, in lib/, bench/ and examples/", () => {
    const files = ["lib", "bench", "examples"].flatMap(sources);
    expect(files.length).toBeGreaterThan(20);
    expect(violations(files.flatMap((file) => importsOf(file, read(file))))).toEqual([]);
  });

  it.each([
    ["an upward import", "lib/io/image.ts", 'import { erase } from "../erasure/erase";'],
    ["an upward re-export", "lib/nn/losses.ts", 'export { UNet } from "../models/unet";'],
    ["an upward type import", "lib/text/bpe.ts", 'import type { UNet } from "../models/unet";'],
    ["a dynamic import", "lib/io/image.ts", 'const x = await import("../diffusion/pipeline");'],
    ["evaluation importing erasure", "lib/evaluation/report.ts", 'import { x } from "../erasure/method";'],
    ["erasure importing evaluation", "lib/erasure/erase.ts", 'import { x } from "../evaluation/report";'],
    [
      "a command below the public API",
      "lib/cli/commands/erase.ts",
      'import { x } from "../../erasure/erase";',
    ],
    [
      "a benchmark below the public API",
      "bench/cases/load.ts",
      'import { x } from "../../lib/io/safetensors";',
    ],
    ["an example beyond the public API", "examples/demo.ts", 'import { x } from "../lib/internal";'],
    [
      "the addon's types outside lib/runtime",
      "lib/nn/optimizer.ts",
      'import type { N } from "../../typings/native";',
    ],
  ])("is seen to be broken by %s", (_name, file, text) => {
    expect(violations(importsOf(file, text))).toHaveLength(1);
  });
});

describe("native includes", () => {
  const natives = (folder: string) =>
    readdirSync(join(root, "native", folder)).filter((name) => /\.(?:h|cpp)$/.test(name));

  it("keep Node's headers and the bindings out of native/nn", () => {
    const wrong = natives("nn").filter((name) =>
      /#include\s*[<"](?:napi|node_api|bindings\/|\.\.\/bindings)/.test(read(join("native/nn", name))),
    );
    expect(wrong).toEqual([]);
  });

  it("keep CUDA's headers out, which a CPU libtorch has not", () => {
    const wrong = ["", "nn", "bindings"]
      .flatMap((folder) => natives(folder).map((name) => join("native", folder, name)))
      .filter((file) => /#include\s*[<"](?:c10\/cuda|ATen\/cuda|cuda)/.test(read(file)));
    expect(wrong).toEqual([]);
  });
});
