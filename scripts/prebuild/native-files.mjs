/** The two native files by the names of their CMake targets; each becomes a prebuild with a name and tags of its own. */
export const NATIVE_FILES = ["kpop_loader", "kpop_native"];
