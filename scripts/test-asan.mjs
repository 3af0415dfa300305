#!/usr/bin/env node
// npm run test:asan -- [test files]: builds the add-on with AddressSanitizer and UndefinedBehaviorSanitizer in
// build-asan, and runs tests that use it. `npm run setup` comes first. docs/robustness.md tells of the options.
import { execFileSync, spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const TESTS = [
  "test/unit/runtime/tensor.test.ts",
  "test/unit/runtime/scope.test.ts",
  "test/unit/nn",
  "test/unit/models",
  "test/parity/networks.test.ts",
  "test/checkpoint/threads.test.ts",
];
const SANITIZERS = "-fsanitize=address,undefined -fno-omit-frame-pointer";

const root = fileURLToPath(new URL("..", import.meta.url));
process.chdir(root);
const base = join(root, "build-asan");

function run(command, args, env = {}) {
  const { status, error } = spawnSync(command, args, { stdio: "inherit", env: { ...process.env, ...env } });
  if (error) console.error(`${command} could not start: ${error.message}`);
  if (status !== 0) process.exit(1);
}

const { ensureLibtorch } = createRequire(import.meta.url)(join(root, "build", "setup", "ensure-libtorch.js"));
const libtorch = await ensureLibtorch(() => {});
const definitions = {
  CMAKE_BUILD_TYPE: "RelWithDebInfo",
  CMAKE_CXX_FLAGS: SANITIZERS,
  CMAKE_CXX_FLAGS_RELWITHDEBINFO: "-O1 -g1",
  // Where the library looks for it, below KPOP_NATIVE_PREBUILD.
  CMAKE_LIBRARY_OUTPUT_DIRECTORY: join(base, "build", "Release"),
  KPOP_LIBTORCH: libtorch.directory,
};
const given = Object.entries(definitions).map(([name, value]) => `-D${name}=${value}`);
run("cmake", ["-G", "Ninja", "-S", ".", "-B", join(base, "cmake"), ...given]);
run("cmake", ["--build", join(base, "cmake")]);

// Node is not built with the sanitizers, so their runtime has to come before it, and with it the C++ library, whose
// exceptions it follows.
const runtimes = ["libasan.so", "libubsan.so", "libstdc++.so.6"].map((name) =>
  execFileSync("g++", [`-print-file-name=${name}`], { encoding: "utf8" }).trim(),
);
const tests = process.argv.length > 2 ? process.argv.slice(2) : TESTS;
run(process.execPath, [join("node_modules", "jest", "bin", "jest.js"), "--runInBand", ...tests], {
  LD_PRELOAD: runtimes.join(" "),
  KPOP_NATIVE_PREBUILD: base,
  ASAN_OPTIONS:
    "detect_leaks=0:detect_stack_use_after_return=1:strict_string_checks=1:allocator_may_return_null=1",
  UBSAN_OPTIONS: "halt_on_error=1:print_stacktrace=1",
});
