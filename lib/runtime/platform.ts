import { binary } from "../../package.json";
import { KpopError } from "../errors";

/**
 * The oldest glibc on which the native files and the libtorch they are built for load. package.json is its home: what
 * makes the prebuilds holds them to it, and a test measures it.
 */
export const OLDEST_GLIBC: string = binary.glibc;

/** The version of the C library that this process runs on; null on musl, which has none to tell. */
export function glibcVersion(): string | null {
  const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime ?? null;
}

/** @throws ADDON_MISSING where no addon exists for the platform */
export function checkPlatform(
  platform: string = process.platform,
  arch: string = process.arch,
  glibc: () => string | null = glibcVersion,
): void {
  if (platform !== "linux" || arch !== "x64") {
    throw new KpopError(
      "ADDON_MISSING",
      `kpop-native runs on Linux x64 but this is ${platform} ${arch}; use a Linux x64 machine or container`,
    );
  }
  const version = glibc();
  if (version === null) {
    throw new KpopError(
      "ADDON_MISSING",
      "kpop-native needs glibc, which libtorch is built for, but this Node runs on musl (Alpine?); use a glibc image such as Debian or Ubuntu",
    );
  }
  if (isOlder(version, OLDEST_GLIBC)) {
    throw new KpopError(
      "ADDON_MISSING",
      `kpop-native needs glibc ${OLDEST_GLIBC} or newer but this system has ${version}; use a newer Linux distribution or container image`,
    );
  }
}

function isOlder(version: string, than: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [thanMajor = 0, thanMinor = 0] = than.split(".").map(Number);
  return major < thanMajor || (major === thanMajor && minor < thanMinor);
}
