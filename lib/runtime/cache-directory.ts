import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

/** The library's folder in the user's cache: kpop-native in XDG_CACHE_HOME. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  const base = env.XDG_CACHE_HOME;
  // The XDG specification has relative values ignored.
  const cache = base !== undefined && isAbsolute(base) ? base : join(env.HOME ?? homedir(), ".cache");
  return join(cache, "kpop-native");
}

/** Where `install-runtime` puts libtorch. */
export function runtimeCache(env: NodeJS.ProcessEnv = process.env): string {
  return join(cacheFolder(env), "runtime");
}

/** The folder of one installed runtime; the libtorch is its subfolder torch/. */
export function runtimeDirectory(
  version: string,
  flavour: "cpu" | "cuda",
  env: NodeJS.ProcessEnv = process.env,
): string {
  return join(runtimeCache(env), `torch-${version}-${flavour}`);
}
