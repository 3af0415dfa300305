import { spawnSync } from "node:child_process";

const PROGRAMS = [
  ["cmake", "CMake (3.20 or newer)"],
  ["c++", "a C++20 compiler (GCC 12 or newer)"],
];

/** Says in one sentence which build tools are missing, before a build fails for the lack of them. */
export function requirePrograms() {
  const missing = PROGRAMS.filter(([name]) => spawnSync(name, ["--version"]).error !== undefined);
  if (missing.length === 0) return;
  throw new Error(
    `Building the add-on needs ${missing.map(([, words]) => words).join(" and ")}; install it with your package manager`,
  );
}
