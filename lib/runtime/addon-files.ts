import { existsSync, readdirSync } from "node:fs";
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
 * Finds the native files by node-gyp-build's conventions: a local build first unless PREBUILDS_ONLY is set, then
 * prebuilds/linux-x64 by tags, under KPOP_NATIVE_PREBUILD when that names a folder. node-gyp-build itself takes the
 * first file of a folder, which serves packages with one add-on only.
 * @throws ADDON_MISSING
 */
export function findAddonFiles(
  root: string = packageRoot(),
  env: NodeJS.ProcessEnv = process.env,
): AddonFiles {
  const build = join(root, "build", "Release");
  const local: AddonFiles = {
    kind: "local",
    loader: join(build, `${NAMES.loader}.node`),
    addon: join(build, `${NAMES.addon}.node`),
  };
  if (!env.PREBUILDS_ONLY && existsSync(local.loader) && existsSync(local.addon)) return local;

  const prebuilds = join(
    env.KPOP_NATIVE_PREBUILD ?? root,
    "prebuilds",
    `${process.platform}-${process.arch}`,
  );
  const loader = bestPrebuild(prebuilds, NAMES.loader);
  const addon = bestPrebuild(prebuilds, NAMES.addon);
  if (loader !== null && addon !== null) return { kind: "prebuild", loader, addon };
  throw new KpopError(
    "ADDON_MISSING",
    `The native files of kpop-native are neither in ${prebuilds} nor in ${build}; reinstall the package, or run \`npm run build\` in a checkout`,
  );
}

function bestPrebuild(folder: string, name: string): string | null {
  const { parseTags, matchTags, compareTags } = nodeGypBuild;
  const files = existsSync(folder) ? readdirSync(folder) : [];
  const best = files
    .filter((file) => file.startsWith(`${name}.`))
    .map((file) => parseTags(file))
    .filter(matchTags("node", process.versions.modules))
    .sort(compareTags("node"))[0];
  return best === undefined ? null : join(folder, best.file);
}
