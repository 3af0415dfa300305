import { existsSync } from "node:fs";
import { KpopError } from "../errors";

/** The version of the C library that this process runs on; null on musl, which has none to tell. */
export function glibcVersion(): string | null {
  const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime ?? null;
}

/** Whether the NVIDIA kernel driver is loaded. */
export function hasNvidiaDriver(): boolean {
  return existsSync("/proc/driver/nvidia/version") || existsSync("/dev/nvidiactl");
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
  if (glibc() === null) {
    throw new KpopError(
      "ADDON_MISSING",
      "kpop-native needs glibc, which libtorch is built for, but this Node runs on musl (Alpine?); use a glibc image such as Debian or Ubuntu",
    );
  }
}
