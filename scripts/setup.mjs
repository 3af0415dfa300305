#!/usr/bin/env node
// Makes a bare clone ready: packages, libtorch, add-on, TypeScript. Each step is skipped when nothing changed.
// It starts with nothing installed, so it and scripts/setup/ use Node's own modules only.
import { mkdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism, totalmem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { withCheckoutLock } from "./setup/checkout-lock.mjs";
import { dependenciesAreCurrent } from "./setup/dependencies.mjs";
import { requirePrograms } from "./setup/prerequisites.mjs";
import { hashFiles, isCurrent, stamp } from "./setup/stamp.mjs";
import { step } from "./setup/step.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const build = join(root, "build");
const stamps = join(build, "setup");
const bin = (name) => join(root, "node_modules", ".bin", name);
const GIB_PER_COMPILER = 2;

async function installPackages() {
  if (dependenciesAreCurrent(root)) return null;
  return async (run) => await run("npm", ["ci", "--no-audit", "--no-fund"]);
}

/** The search for libtorch is lib/runtime's own; it is bundled alone, since the rest may not build yet. */
async function findLibtorch(context) {
  const bundle = join(stamps, "ensure-libtorch.js");
  const inputs = hashFiles(root, [
    "lib/runtime",
    "lib/files",
    "lib/errors.ts",
    "lib/check.ts",
    "package-lock.json",
  ]);
  const stale = !isCurrent(stamps, "bundle", inputs, [bundle]);
  const load = async (onProgress) => {
    const { ensureLibtorch } = createRequire(import.meta.url)(bundle);
    context.libtorch = await ensureLibtorch(onProgress);
  };
  return async (run, say) => {
    if (stale) {
      const entry = "lib/runtime/install/ensure-libtorch.ts";
      await run(bin("tsup"), [
        entry,
        "--no-config",
        "--format",
        "cjs",
        "--target",
        "node20",
        "--out-dir",
        stamps,
      ]);
      stamp(stamps, "bundle", inputs);
    }
    await load(({ message, done, total }) =>
      say(total ? `${message} ${Math.round((100 * done) / total)} %` : message),
    );
    return `${context.libtorch.version} ${context.libtorch.flavour}, ${context.libtorch.directory}`;
  };
}

/** Which libtorch of a version it was built against does not matter: nothing of its place goes into the add-on. */
async function buildAddon({ libtorch }) {
  const outputs = ["kpop_loader.node", "kpop_native.node"].map((name) => join(build, "Release", name));
  const inputs = hashFiles(
    root,
    ["native", "cmake", "CMakeLists.txt", "package-lock.json"],
    libtorch.version,
  );
  if (isCurrent(stamps, "addon", inputs, outputs)) return null;
  return async (run) => {
    requirePrograms();
    const place = JSON.stringify([root, libtorch.directory, libtorch.version]);
    if (!isCurrent(stamps, "configure", place, [join(build, "CMakeCache.txt")])) {
      rmSync(join(build, "CMakeCache.txt"), { force: true });
      await run(bin("cmake-js"), ["configure", `--CDKPOP_LIBTORCH=${libtorch.directory}`]);
      stamp(stamps, "configure", place);
    }
    const jobs = Math.min(availableParallelism(), Math.floor(totalmem() / 2 ** 30 / GIB_PER_COMPILER));
    await run(bin("cmake-js"), ["build", "--parallel", String(Math.max(1, jobs))]);
    stamp(stamps, "addon", inputs);
  };
}

async function bundleTypeScript() {
  const sources = ["lib", "typings", "bench", "examples", "tsup.config.ts", "tsconfig.json", "package.json"];
  const inputs = hashFiles(root, [...sources, "package-lock.json"]);
  const outputs = ["internal.js", "index.js", "index.mjs", "index.d.ts", "cli.js"].map((name) =>
    join(root, "dist", name),
  );
  if (isCurrent(stamps, "dist", inputs, outputs)) return null;
  return async (run) => {
    await run(bin("tsup"), []);
    stamp(stamps, "dist", inputs);
  };
}

process.chdir(root);
mkdirSync(stamps, { recursive: true });
try {
  const context = {};
  await withCheckoutLock(join(stamps, "lock"), async () => {
    await step("npm packages", installPackages, context);
    await step("libtorch", findLibtorch, context);
    await step("native add-on", buildAddon, context);
    await step("TypeScript", bundleTypeScript, context);
  });
} catch (error) {
  console.error(`\nSet-up failed: ${error.message}`);
  process.exitCode = 1;
}
