import { diagnoseLinker } from "../../../lib/runtime/linker-words";

describe("diagnoseLinker", () => {
  it.each([
    [
      "/lib/libm.so.6: version `GLIBC_2.38' not found (required by /x/libtorch_cpu.so)",
      /older/,
      /newer Linux/,
    ],
    ["/x/y.node: undefined symbol: _ZN2at4onesEv", /another libtorch/, /npm run build/],
    ["/x/libc10.so: file too short", /damaged/, /install-runtime --force/],
    ["/x/libc10.so: invalid ELF header", /damaged/, /install-runtime --force/],
    ["libcudart.so.13: cannot open shared object file: No such file or directory", /CUDA library/, /--cpu/],
    ["libgomp.so.1: cannot open shared object file: No such file or directory", /missing/, /--force/],
    ["/x/libc10.so: cannot open shared object file: Permission denied", /executed/, /noexec/],
    ["/x/libc10.so: failed to map segment from shared object", /executed/, /noexec/],
    ["words never seen before", /could not load/, /--force/],
  ])("%s", (words, meaning, remedy) => {
    const diagnosis = diagnoseLinker(words);
    expect(diagnosis.meaning).toMatch(meaning);
    expect(diagnosis.remedy).toMatch(remedy);
  });
});
