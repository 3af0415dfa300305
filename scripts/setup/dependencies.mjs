import { existsSync, lstatSync, readFileSync } from "node:fs";
import { join } from "node:path";

/**
 * Whether node_modules holds what package-lock.json says. npm writes node_modules/.package-lock.json last, so an
 * interrupted installation is without it. Packages of other platforms may be absent: they are optional.
 */
export function dependenciesAreCurrent(root) {
  // npm empties the folder behind a link, which others may use.
  if (lstatSync(join(root, "node_modules"), { throwIfNoEntry: false })?.isSymbolicLink())
    throw new Error("node_modules is a symbolic link; make it a folder of its own");
  const hidden = join(root, "node_modules", ".package-lock.json");
  if (!existsSync(hidden)) return false;
  const { "": own, ...wanted } = readPackages(join(root, "package-lock.json"));
  const installed = readPackages(hidden);
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  return (
    sameRanges(own.dependencies, manifest.dependencies) &&
    sameRanges(own.devDependencies, manifest.devDependencies) &&
    Object.keys(installed).every((path) => path in wanted) &&
    Object.entries(wanted).every(([path, { version, optional }]) =>
      installed[path] === undefined ? optional === true : installed[path].version === version,
    )
  );
}

function readPackages(path) {
  return JSON.parse(readFileSync(path, "utf8")).packages;
}

function sameRanges(locked = {}, declared = {}) {
  const names = new Set([...Object.keys(locked), ...Object.keys(declared)]);
  return [...names].every((name) => locked[name] === declared[name]);
}
