import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
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

/** Programs take the library from the built index beside them, so that it is in the process once. */
const publicApi: NonNullable<Options["esbuildPlugins"]>[number] = {
  name: "public-api",
  setup(build) {
    build.onResolve({ filter: /^(?:\.\.\/)+(?:lib\/)?index$/ }, () => ({
      path: "./index.js",
      external: true,
    }));
  },
};

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
    entry: { index: "lib/index.ts" },
    dts: true,
    // One copy for both module systems: two would mean two KpopError classes and two loaded add-ons.
    async onSuccess() {
      await writeFile("dist/index.mjs", 'export * from "./index.js";\n');
      await writeFile("dist/index.d.mts", 'export * from "./index.js";\n');
    },
  },
  { ...common, entry: programs, external: ["kpop-native", "echarts"], esbuildPlugins: [publicApi] },
]);
