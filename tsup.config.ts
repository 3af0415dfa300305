import { existsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, resolve } from "node:path";
import { defineConfig } from "tsup";
import type { Options } from "tsup";

const common = {
  format: "cjs",
  target: "node20",
  platform: "node",
  outDir: "dist",
  sourcemap: true,
  silent: true,
  // Classes that name themselves are renamed (_Image), and messages show their names.
  keepNames: true,
} satisfies Options;

/** Programs take the library from what is built beside them, so that it is in the process once. */
const libraryBeside: NonNullable<Options["esbuildPlugins"]>[number] = {
  name: "library-beside",
  setup(build) {
    build.onResolve({ filter: /^(?:\.\.\/)+(?:lib\/)?(?:index|internal)$/ }, ({ path }) => ({
      path: `./${basename(path)}.js`,
      external: true,
    }));
  },
};

/** Charts' library: in a file of its own, which the first chart loads. */
const chartsBeside: NonNullable<Options["esbuildPlugins"]>[number] = {
  name: "charts-beside",
  setup(build) {
    build.onResolve({ filter: /^\.\/charts$/ }, () => ({ path: "./charts.js", external: true }));
  },
};

/** The public names, taken one by one: Node finds those of a CommonJS module by reading it. */
async function writeIndex(): Promise<void> {
  const built = createRequire(__filename)(resolve("dist/internal.js")) as { index: object };
  const lines = [
    '"use strict";',
    'Object.defineProperty(exports, "__esModule", { value: true });',
    'const { index } = require("./internal.js");',
    ...Object.keys(built.index).map((name) => `exports.${name} = index.${name};`),
  ];
  await rm("dist/index.js.map", { force: true }); // what is shipped is all that is called index
  await writeFile("dist/index.js", `${lines.join("\n")}\n`);
  // One copy for both module systems: two would mean two KpopError classes and two loaded add-ons.
  for (const name of ["index.mjs", "index.d.mts"])
    await writeFile(`dist/${name}`, 'export * from "./index.js";\n');
}

const programs: Record<string, string> = {
  cli: "lib/cli/main.ts",
  bench: "bench/run.ts",
  gpu: "bench/gpu/run.ts",
};
if (existsSync("examples/demo.ts")) programs.demo = "examples/demo.ts";
if (existsSync("examples/train-pocket")) programs["train-pocket"] = "examples/train-pocket/main.ts";

export default defineConfig([
  {
    ...common,
    entry: { internal: "lib/internal.ts" },
    dts: { entry: { index: "lib/index.ts" } },
    onSuccess: writeIndex,
    esbuildPlugins: [chartsBeside],
  },
  { ...common, entry: { charts: "lib/report/page/charts.ts" }, minify: true, sourcemap: false },
  { ...common, entry: programs, external: ["kpop-native"], esbuildPlugins: [libraryBeside] },
]);
