#!/usr/bin/env node
// Makes what a release consists of in build/release/: tarball, bill of materials, checksums. Nothing is published
// without --publish, and nothing at all with a fault: node scripts/release.mjs [--publish]
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { makeTarball } from "./release/make-tarball.mjs";
import { readinessFaults } from "./release/readiness.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = join(root, "build", "release");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

/** What of the registry goes into an installation, as CycloneDX; libtorch comes at run time and is none of it. */
function writeBillOfMaterials(tarball) {
  const path = tarball.replace(/\.tgz$/, ".cdx.json");
  const args = ["sbom", "--sbom-format", "cyclonedx", "--sbom-type", "library", "--omit", "dev"];
  const output = execFileSync("npm", args, {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  const bill = JSON.parse(output);
  bill.metadata.component.name = manifest.name; // npm gives the folder's name
  writeFileSync(path, `${JSON.stringify(bill, null, 2)}\n`);
  return path;
}

function writeChecksums(paths) {
  const sum = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");
  const lines = paths.map((path) => `${sum(path)}  ${basename(path)}\n`);
  writeFileSync(join(folder, "SHA256SUMS"), lines.join(""));
}

try {
  const { values } = parseArgs({ options: { publish: { type: "boolean", default: false } } });
  const faults = readinessFaults(root);
  rmSync(folder, { recursive: true, force: true });
  const tarball = await makeTarball(root, folder);
  faults.push(...tarball.faults);
  writeChecksums([tarball.path, writeBillOfMaterials(tarball.path)]);

  const command = ["publish", relative(root, tarball.path), "--provenance", "--access", "public"];
  console.log(`\n${command[1]}  ${(tarball.bytes / 1e6).toFixed(1)} MB, ${tarball.files.length} files`);
  if (faults.length > 0) throw new Error(["this is no release yet:", ...faults].join("\n  "));
  if (values.publish) execFileSync("npm", command, { cwd: root, stdio: "inherit" });
  else console.log(`Nothing was published; in continuous integration, do: npm ${command.join(" ")}`);
} catch (error) {
  console.error(`\nNot released: ${error.message}`);
  process.exitCode = 1;
}
