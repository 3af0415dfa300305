const { availableParallelism, totalmem } = require("node:os");

const GIB_PER_WORKER = 4;

/** What measures delays or the machine's memory, which other tests beside it would take part in. */
const ALONE = ["test/checkpoint/event-loop.test.ts", "test/leak/memory.test.ts"];

// Each worker computes on one core. Teams of OpenMP's threads that share the cores would wait for each other.
process.env.OMP_NUM_THREADS ??= "1";

/** @type {import("jest").Config} */
const project = {
  testEnvironment: "<rootDir>/scripts/jest-environment.cjs",
  transform: {
    "^.+\\.ts$": [
      "@swc/jest",
      { jsc: { parser: { syntax: "typescript" }, target: "es2022" }, module: { type: "commonjs" } },
    ],
  },
};

/** @type {import("jest").Config} */
module.exports = {
  projects: [
    {
      ...project,
      testMatch: ["<rootDir>/test/**/*.test.ts"],
      testPathIgnorePatterns: ALONE.map((path) => `<rootDir>/${path}`),
    },
    {
      ...project,
      displayName: "alone",
      testMatch: ALONE.map((path) => `<rootDir>/${path}`),
      runner: "<rootDir>/scripts/jest-serial-runner.cjs",
    },
  ],
  maxWorkers: Math.max(
    1,
    Math.min(availableParallelism(), Math.floor(totalmem() / 2 ** 30 / GIB_PER_WORKER)),
  ),
  testSequencer: "<rootDir>/scripts/jest-sequencer.cjs",
  testTimeout: 60_000,
  reporters: ["default", "<rootDir>/scripts/jest-summary-reporter.cjs"],
};
