import { mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import prebuildifyCallback from "prebuildify";
import { elfFacts } from "./elf-facts.mjs";
import { NATIVE_FILES } from "./native-files.mjs";
import { prebuildFaults } from "./prebuild-faults.mjs";

const prebuildify = promisify(prebuildifyCallback);
const SHIM = fileURLToPath(new URL("cmake-shim.mjs", import.meta.url));
const PLATFORM = `${process.platform}-${process.arch}`;

/**
 * Makes <out>/prebuilds/linux-x64/ from the checkout's build, which must be configured; what is out of date is built.
 * One flavour serves a CPU and a CUDA libtorch: no source needs a header of CUDA.
 * @returns { path, bytes, versions } of each file; `versions` are the newest of each set of symbols that it needs
 * @throws when a file is unfit to be given to others; what stood at <out> is then left as it was
 */
export async function makePrebuilds(root, out) {
  const { binary } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  mkdirSync(out, { recursive: true });
  // Beside the destination, because prebuildify and the last step rename, which cannot cross file systems.
  const work = mkdtempSync(join(out, ".prebuild-"));
  try {
    for (const name of NATIVE_FILES) {
      const cwd = join(work, name);
      mkdirSync(cwd);
      await prebuildify({
        cwd,
        out: work,
        name: `${name}.napi`,
        napi: true,
        tagLibc: true,
        targets: [process.versions.node],
        nodeGyp: SHIM,
      });
    }
    const made = join(work, "prebuilds", PLATFORM);
    const described = readdirSync(made).map((file) => describe(join(made, file), binary));
    const final = join(out, "prebuilds", PLATFORM);
    mkdirSync(join(out, "prebuilds"), { recursive: true });
    rmSync(final, { recursive: true, force: true });
    renameSync(made, final);
    return described.map(({ file, ...facts }) => ({ path: join(final, file), ...facts }));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function describe(path, baseline) {
  const file = path.slice(path.lastIndexOf("/") + 1);
  const facts = elfFacts(path);
  const faults = prebuildFaults(file.split(".")[0], facts, baseline);
  if (faults.length > 0) throw new Error([`${file} is unfit for a prebuild:`, ...faults].join("\n  "));
  return { file, bytes: statSync(path).size, versions: facts.versions };
}
