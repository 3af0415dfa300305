import { REPLACE_ADDON, replaceLibtorch } from "./remedies";
import type { FoundLibtorch } from "./libtorch";

/** What the dynamic linker's refusal means, and what mends it. */
export interface LinkerDiagnosis {
  meaning: string;
  /** Without a capital or a full stop, to be the end of a sentence. */
  remedy: string;
}

/** Whose file was refused: the package's own, or a libtorch's. */
export type Refused = "addon" | Pick<FoundLibtorch, "source" | "flavour">;

type Remedy = (refused: Refused) => string;

const replace: Remedy = (refused) => (refused === "addon" ? REPLACE_ADDON : replaceLibtorch(refused));

const READINGS: [pattern: RegExp, meaning: string, remedy: Remedy][] = [
  [
    /version `(?:GLIBC|GLIBCXX|CXXABI)_[\d.]+' not found/,
    "the system's C or C++ library is older than the one it was built with",
    () => "use a newer Linux distribution or container image",
  ],
  [
    /lib(?:cuda|nvidia-ml)\.so[.\d]*: cannot open shared object file/,
    "it is a CUDA libtorch, and NVIDIA's driver is not here",
    () =>
      "install the driver, start the container with access to the GPU (`--gpus all`), or take the CPU one with `npx kpop-native install-runtime --cpu`",
  ],
  [
    /lib(?:cu|nv|nccl)\w*\.so[.\d]*: cannot open shared object file/,
    "it is a CUDA libtorch and a CUDA library that it needs is missing",
    (refused) =>
      refused !== "addon" && refused.source === "runtime"
        ? replace(refused)
        : "install the missing CUDA packages, or the CPU one with `npx kpop-native install-runtime --cpu`",
  ],
  [
    /undefined symbol/,
    "it was built for another libtorch",
    (refused) =>
      refused === "addon"
        ? "rebuild the add-on with `npm run build`, or install the libtorch it was built for with `npx kpop-native install-runtime`"
        : replace(refused),
  ],
  [
    /failed to map segment|[Pp]ermission denied/,
    "the file may not be executed from there",
    () => "check its permissions, and that its file system is not mounted noexec",
  ],
  [
    /file too short|invalid ELF header|file data|ELF load command|cannot read|not a shared library|truncated/,
    "the file is damaged",
    replace,
  ],
  [/cannot open shared object file/, "a library that it needs is missing", replace],
];

/** Reads dlerror's words. */
export function diagnoseLinker(words: string, refused: Refused): LinkerDiagnosis {
  const reading = READINGS.find(([pattern]) => pattern.test(words));
  if (reading === undefined) return { meaning: "the system could not load it", remedy: replace(refused) };
  const [, meaning, remedy] = reading;
  return { meaning, remedy: remedy(refused) };
}
