import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { makePrebuilds } from "../prebuild/make-prebuilds.mjs";
import { contentFaults } from "./content-faults.mjs";
import { lintTarball } from "./lint-tarball.mjs";

const ALWAYS = ["package.json", "README.md", "LICENSE"];

/**
 * Packs the checkout's package with prebuilds made for it, without touching the checkout, and checks the result.
 * @returns { path, bytes, files, prebuilds, faults }: `files` are the paths inside, `faults` one sentence each
 */
export async function makeTarball(root, destination) {
  mkdirSync(destination, { recursive: true });
  const stage = mkdtempSync(join(resolve(destination), ".package-"));
  try {
    const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const folders = manifest.files.map((pattern) => pattern.split("/")[0]);
    for (const name of new Set([...ALWAYS, ...folders.filter((each) => each !== "prebuilds")])) {
      if (!existsSync(join(root, name)))
        throw new Error(`package.json's "files" names ${name}, which is not there`);
      cpSync(join(root, name), join(stage, name), { recursive: true });
    }
    const prebuilds = await makePrebuilds(root, stage);
    const packed = npmPack(stage, resolve(destination));
    const faults = [...contentFaults(packed), ...(await lintTarball(packed.path))];
    return {
      ...packed,
      prebuilds: prebuilds.map(({ path, ...rest }) => ({ ...rest, path: path.slice(stage.length + 1) })),
      faults,
    };
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

function npmPack(folder, destination) {
  const output = execFileSync(
    "npm",
    ["pack", "--json", "--ignore-scripts", "--pack-destination", destination],
    {
      cwd: folder,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    },
  );
  // A list up to npm 11, an object by package name after it.
  const [{ filename, size, files }] = Object.values(JSON.parse(output));
  return { path: join(destination, filename), bytes: size, files: files.map(({ path }) => path) };
}
