import { diagnoseLinker } from "../../../lib/runtime/linker-words";
import type { Refused } from "../../../lib/runtime/linker-words";

const cpu: Refused = { source: "runtime", flavour: "cpu" };
const cuda: Refused = { source: "runtime", flavour: "cuda" };
const named: Refused = { source: "KPOP_LIBTORCH", flavour: "cpu" };
const python: Refused = { source: "python", flavour: "cuda" };
const missing = "cannot open shared object file: No such file or directory";

describe("diagnoseLinker", () => {
  it.each<[string, Refused, RegExp, RegExp]>([
    [
      "/lib/libm.so.6: version `GLIBC_2.38' not found (required by /x/libtorch_cpu.so)",
      cpu,
      /older/,
      /^use a newer Linux/,
    ],
    ["/x/y.node: undefined symbol: _ZN2at4onesEv", "addon", /another libtorch/, /npm run build/],
    ["/x/libtorch.so: undefined symbol: _ZN2at4onesEv", cpu, /another libtorch/, /install-runtime --force/],
    ["/x/libtorch.so: undefined symbol: _ZN2at4onesEv", named, /another libtorch/, /^point KPOP_LIBTORCH/],
    ["/x/libc10.so: file too short", cpu, /damaged/, /install-runtime --force/],
    ["/x/libc10.so: invalid ELF header", cuda, /damaged/, /install-runtime --cuda --force/],
    ["/x/y.node: file too short", "addon", /damaged/, /^reinstall the package/],
    [`libcuda.so.1: ${missing}`, cuda, /driver is not here/, /install the driver.*--gpus all.*--cpu/],
    [`libcudart.so.13: ${missing}`, python, /CUDA library/, /CUDA packages.*--cpu/],
    [`libcudart.so.13: ${missing}`, cuda, /CUDA library/, /install-runtime --cuda --force/],
    [`libgomp.so.1: ${missing}`, cpu, /missing/, /--force/],
    ["/x/libc10.so: cannot open shared object file: Permission denied", cpu, /executed/, /noexec/],
    ["/x/libc10.so: failed to map segment from shared object", cpu, /executed/, /noexec/],
    ["words never seen before", cpu, /could not load/, /--force/],
  ])("%s", (words, refused, meaning, remedy) => {
    const diagnosis = diagnoseLinker(words, refused);
    expect(diagnosis.meaning).toMatch(meaning);
    expect(diagnosis.remedy).toMatch(remedy);
  });
});
