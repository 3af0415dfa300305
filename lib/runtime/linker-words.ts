/** What the dynamic linker's refusal means, and what mends it. */
export interface LinkerDiagnosis {
  meaning: string;
  remedy: string;
}

const REINSTALL = "install it again with `npx kpop-native install-runtime --force`";

const READINGS: [pattern: RegExp, meaning: string, remedy: string][] = [
  [
    /version `(?:GLIBC|GLIBCXX|CXXABI)_[\d.]+' not found/,
    "the system's C or C++ library is older than the one it was built with",
    "use a newer Linux distribution or container image",
  ],
  [
    /lib(?:cu|nv|cuda|nccl)\w*\.so[.\d]*: cannot open shared object file/,
    "it is a CUDA libtorch and a CUDA library that it needs is missing",
    "install the CPU one with `npx kpop-native install-runtime --cpu`, or the missing CUDA packages",
  ],
  [
    /undefined symbol/,
    "it was built for another libtorch",
    "rebuild the add-on with `npm run build`, or install the libtorch it was built for with `npx kpop-native install-runtime`",
  ],
  [
    /failed to map segment|[Pp]ermission denied/,
    "the file may not be executed from there",
    "check its permissions, and that its file system is not mounted noexec",
  ],
  [
    /file too short|invalid ELF header|file data|ELF load command|cannot read/,
    "the file is damaged",
    REINSTALL,
  ],
  [/cannot open shared object file/, "a library that it needs is missing", REINSTALL],
];

/** Reads dlerror's words. */
export function diagnoseLinker(words: string): LinkerDiagnosis {
  const reading = READINGS.find(([pattern]) => pattern.test(words));
  return reading === undefined
    ? { meaning: "the system could not load it", remedy: REINSTALL }
    : { meaning: reading[1], remedy: reading[2] };
}
