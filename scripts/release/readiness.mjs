import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** What stands against releasing this checkout as it is, before anything is built; one sentence each. */
export function readinessFaults(root) {
  const { version, repository } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const faults = changelogFaults(readFileSync(join(root, "CHANGELOG.md"), "utf8"), version);
  const git = (...args) => execFileSync("git", args, { cwd: root, encoding: "utf8" }).trim();
  if (git("status", "--porcelain") !== "") faults.push("the working tree has changes that are not committed");
  const tag = git("tag", "--list", `v${version}`);
  if (tag !== "" && git("rev-parse", `${tag}^{commit}`) !== git("rev-parse", "HEAD"))
    faults.push(`the tag ${tag} is on another commit: raise package.json's version`);
  const [built, pinned] = [builtForTorch(root), pinnedTorch(root)];
  if (built !== pinned) faults.push(`the build is for libtorch ${built}, not ${pinned}: unset KPOP_LIBTORCH`);
  if (repository === undefined)
    faults.push('package.json has no "repository", by which npm ties the provenance to the source');
  return faults;
}

/** What a changelog lacks for a version: a dated section of its own, and nothing left under "Unreleased". */
export function changelogFaults(changelog, version) {
  const sections = changelog.split(/^## /m).slice(1);
  const isOf = (name) => (section) => section.startsWith(`[${name}]`);
  const faults = [];
  const own = sections.find(isOf(version));
  if (own === undefined || !/^\[[^\]]+\] - \d{4}-\d{2}-\d{2}\n[^]*^- /m.test(own))
    faults.push(`CHANGELOG.md has no section "## [${version}] - YYYY-MM-DD" with something in it`);
  if (/^- /m.test(sections.find(isOf("Unreleased")) ?? ""))
    faults.push('CHANGELOG.md still lists changes under "Unreleased"');
  return faults;
}

function builtForTorch(root) {
  const module = { exports: {} };
  process.dlopen(module, join(root, "build", "Release", "kpop_loader.node"));
  return module.exports.builtForTorch;
}

function pinnedTorch(root) {
  const source = readFileSync(join(root, "lib", "runtime", "torch-version.ts"), "utf8");
  return /TORCH_VERSION = "([^"]+)"/.exec(source)?.[1];
}
