import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import nodeGypBuild from "node-gyp-build";
import { KpopError } from "../errors";
import { packageRoot } from "./package-root";

/** The two native files, which come in a pair. */
export interface AddonFiles {
  kind: "local" | "prebuild";
  loader: string;
  addon: string;
}

const NAMES = { loader: "kpop_loader", addon: "kpop_native" };

/**
 * Finds the native files by node-gyp-build's conventions: build/Release and prebuilds/linux-x64, the latter by tags,
 * both under KPOP_NATIVE_PREBUILD when that names a folder. node-gyp-build itself takes the first file of a folder,
 * which serves packages with one add-on only.
 *
 * A local build was asked for by whoever made it, since nothing in the package builds by itself; it is taken unless
 * the prebuilds are newer or PREBUILDS_ONLY is set.
 * @throws ADDON_MISSING
 */
export function findAddonFiles(
  root: string = packageRoot(),
  env: NodeJS.ProcessEnv = process.env,
): AddonFiles {
  const base = env.KPOP_NATIVE_PREBUILD ? env.KPOP_NATIVE_PREBUILD : root;
  const build = join(base, "build", "Release");
  const prebuilds = join(base, "prebuilds", `${process.platform}-${process.arch}`);
  const prebuilt = findPrebuilds(prebuilds);
  const local = env.PREBUILDS_ONLY ? null : findBuild(build);
  if (local !== null && (prebuilt === null || !isOlder(local, prebuilt))) return local;
  if (prebuilt !== null) return prebuilt;
  const places = env.PREBUILDS_ONLY
    ? `not in ${prebuilds}, and PREBUILDS_ONLY forbids to look elsewhere`
    : `neither in ${prebuilds} nor in ${build}`;
  throw new KpopError(
    "ADDON_MISSING",
    `The native files of kpop-native are ${places}; reinstall the package, or run \`npm run build\` in a checkout`,
  );
}

function findBuild(folder: string): AddonFiles | null {
  const loader = join(folder, `${NAMES.loader}.node`);
  const addon = join(folder, `${NAMES.addon}.node`);
  return existsSync(loader) && existsSync(addon) ? { kind: "local", loader, addon } : null;
}

function findPrebuilds(folder: string): AddonFiles | null {
  const files = existsSync(folder) ? readdirSync(folder) : [];
  const loader = bestPrebuild(files, NAMES.loader);
  const addon = bestPrebuild(files, NAMES.addon);
  if (loader === null || addon === null) return null;
  return { kind: "prebuild", loader: join(folder, loader), addon: join(folder, addon) };
}

function bestPrebuild(files: readonly string[], name: string): string | null {
  const { parseTags, matchTags, compareTags } = nodeGypBuild;
  const best = files
    .filter((file) => file.startsWith(`${name}.`))
    .map((file) => parseTags(file))
    .filter(matchTags("node", process.versions.modules))
    .sort(compareTags("node"))[0];
  return best?.file ?? null;
}

/** By whole seconds: prebuilds keep the times of the build they were taken from, but not their fractions. */
function isOlder(build: AddonFiles, prebuilt: AddonFiles): boolean {
  const seconds = (path: string): number => Math.floor(statSync(path).mtimeMs / 1000);
  return seconds(build.loader) < seconds(prebuilt.loader) || seconds(build.addon) < seconds(prebuilt.addon);
}
