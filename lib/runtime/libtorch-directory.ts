import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { KpopError } from "../errors";
import { elfFault, isDenied } from "./elf";
import { releaseOf } from "./torch-version";

/** A libtorch on disk whose files look whole. */
export interface Libtorch {
  /** The folder that holds lib/ and, for builds, include/. */
  directory: string;
  /**
   * What to open, in order. All by absolute path: libtorch.so alone would find the others through LD_LIBRARY_PATH
   * before its own folder.
   */
  libraries: string[];
  /** The release, such as "2.13.0"; null when no file says it (then only the opened library can). */
  version: string | null;
  flavour: "cpu" | "cuda";
  /** Whether the add-on can be built against it. */
  hasHeaders: boolean;
}

const NAMES = ["libc10.so", "libtorch_cpu.so", "libtorch.so"];

/**
 * Looks at a libtorch without loading it.
 * @param path a libtorch folder, a site-packages (or its torch), or the folder of the libraries themselves
 * @throws LIBTORCH_MISSING when there is none; LIBTORCH_INCOMPATIBLE when its files are damaged or of the old C++ ABI
 */
export function inspectLibtorch(path: string): Libtorch {
  const libraryFolder = [join(path, "lib"), join(path, "torch", "lib"), path]
    .map((folder) => resolve(folder))
    .find((folder) => isThere(join(folder, "libtorch.so"), path));
  if (libraryFolder === undefined) {
    throw new KpopError("LIBTORCH_MISSING", `${path} holds no libtorch (there is no lib/libtorch.so in it)`);
  }
  const directory = dirname(libraryFolder);
  const libraries = NAMES.map((name) => join(libraryFolder, name));
  const cuda = join(libraryFolder, "libtorch_cuda.so");
  const isCuda = existsSync(cuda);
  for (const library of isCuda ? [...libraries, cuda] : libraries) {
    const fault = elfFault(library);
    if (fault === "permission denied") throw forbidden(library, directory);
    if (fault !== null) {
      throw new KpopError("LIBTORCH_INCOMPATIBLE", `${library} cannot be used: ${fault}`);
    }
  }
  if (readFileSync(join(libraryFolder, "libc10.so")).includes("ErrorC1ENS_14SourceLocationESs")) {
    throw new KpopError(
      "LIBTORCH_INCOMPATIBLE",
      `The libtorch at ${directory} was built with the old C++ ABI, and the C++11 ABI ("cxx11-abi") is needed`,
    );
  }
  return {
    directory,
    libraries,
    version: readVersion(directory),
    flavour: isCuda ? "cuda" : "cpu",
    hasHeaders: existsSync(join(directory, "include", "ATen", "ATen.h")),
  };
}

/** Not `existsSync`, for which a folder that may not be looked into is an empty one. */
function isThere(library: string, named: string): boolean {
  try {
    return statSync(library, { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    if (isDenied(error)) throw forbidden(named, named);
    return false;
  }
}

function forbidden(path: string, folder: string): KpopError {
  return new KpopError(
    "LIBTORCH_INCOMPATIBLE",
    `${path} cannot be used: permission denied; run \`chmod -R a+rX ${folder}\` as its owner`,
  );
}

function readVersion(directory: string): string | null {
  const readings: [file: string, pattern: RegExp][] = [
    ["version.py", /^__version__ = ['"]([^'"]+)/m],
    ["build-version", /^(\S+)/],
    ["include/torch/headeronly/version.h", /define TORCH_VERSION\s+\\?\s*"([^"]+)"/],
    ["include/torch/csrc/api/include/torch/version.h", /define TORCH_VERSION\s+\\?\s*"([^"]+)"/],
  ];
  for (const [file, pattern] of readings) {
    const version = pattern.exec(contentOf(join(directory, file)))?.[1];
    if (version !== undefined) return releaseOf(version);
  }
  return null;
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
