// Test files run side by side, one for each core; more threads in each would wait for one another.
process.env.OMP_NUM_THREADS ??= "1";

/** @type {import("jest").Config} */
module.exports = {
  testEnvironment: "node",
  testMatch: ["<rootDir>/test/**/*.test.ts"],
  transform: {
    "^.+\\.ts$": [
      "@swc/jest",
      { jsc: { parser: { syntax: "typescript" }, target: "es2022" }, module: { type: "commonjs" } },
    ],
  },
  reporters: ["default", "<rootDir>/scripts/jest-summary-reporter.cjs"],
  testTimeout: 60_000,
};
