import { spawnSync } from "node:child_process";

/**
 * What a shared library asks of the system it is loaded on, as readelf tells it.
 * @returns the libraries it needs by name, whether it carries a search path (RPATH or RUNPATH) or a symbol table, and
 *   the newest version it needs of each set of symbols: { GLIBC: "2.14", GLIBCXX: "3.4.22", CXXABI: "1.3.11" }
 */
export function elfFacts(path) {
  const { status, error, stdout, stderr } = spawnSync(
    "readelf",
    ["--wide", "--dynamic", "--version-info", "--section-headers", path],
    { encoding: "utf8", maxBuffer: 2 ** 28, env: { ...process.env, LC_ALL: "C" } },
  );
  if (status !== 0) throw new Error(`readelf cannot read ${path}: ${error?.message ?? stderr.trim()}`);
  const versions = {};
  for (const [, set, version] of stdout.matchAll(/Name: (GLIBC|GLIBCXX|CXXABI)_([\d.]+)  Flags/g)) {
    if (versions[set] === undefined || compareVersions(version, versions[set]) > 0) versions[set] = version;
  }
  return {
    needed: [...stdout.matchAll(/\(NEEDED\).*\[(.+)\]/g)].map((match) => match[1]),
    searchPath: /\((?:RPATH|RUNPATH)\)/.test(stdout),
    symbolTable: /\] \.(?:symtab|debug_info)\s/.test(stdout),
    versions,
  };
}

/** Negative, zero or positive, as for sorting; "2.9" is older than "2.28". */
export function compareVersions(a, b) {
  const [left, right] = [a, b].map((version) => version.split(".").map(Number));
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
