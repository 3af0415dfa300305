import { spawnSync } from "node:child_process";
import { join } from "node:path";

const script = join(__dirname, "..", "..", "scripts", "test-tsan.mjs");
const compiler = spawnSync(process.env.CXX ?? "g++", ["--version"]).status === 0;

describe("the worker's queue", () => {
  (compiler ? it : it.skip)(
    "keeps the order, loses nothing and has no data race (skipped without a C++ compiler)",
    () => {
      const { status, stdout, stderr } = spawnSync(process.execPath, [script, "--rounds", "500"], {
        encoding: "utf8",
      });
      expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "ok\n", stderr: "" });
    },
    120_000,
  );
});
