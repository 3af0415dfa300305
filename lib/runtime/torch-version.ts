/** The libtorch that the package is built and tested against, and that `install-runtime` installs. */
export const TORCH_VERSION = "2.13.0";

/** The release that a version string names, its local part dropped: "2.13.0+cpu" is 2.13.0. Null when it names none. */
export function releaseOf(version: string): string | null {
  return /^\d+\.\d+\.\d+/.exec(version.trim())?.[0] ?? null;
}
