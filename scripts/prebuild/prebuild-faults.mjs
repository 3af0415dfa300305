import { compareVersions } from "./elf-facts.mjs";

const LIBTORCH = ["libtorch.so", "libtorch_cpu.so", "libc10.so"];
const SYSTEM = ["libstdc++.so.6", "libgcc_s.so.1", "libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"];

/**
 * Why a native file is unfit to be given to others, one sentence each; none when it is fit.
 * @param name its CMake target   @param facts what `elfFacts` says
 * @param baseline package.json's "binary": the newest symbol versions that may be needed
 */
export function prebuildFaults(name, facts, baseline) {
  const torch = name === "kpop_native" ? LIBTORCH : [];
  const faults = [];
  for (const library of torch.filter((each) => !facts.needed.includes(each)))
    faults.push(`it does not name ${library}, so it would not bind to the one that is open`);
  for (const library of facts.needed.filter((each) => ![...torch, ...SYSTEM].includes(each)))
    faults.push(`it needs ${library}, which not every system has`);
  if (facts.searchPath) faults.push("it carries a library search path of the machine it was built on");
  if (facts.symbolTable) faults.push("its symbols are not stripped");
  for (const [set, version] of Object.entries(facts.versions)) {
    const limit = baseline[set.toLowerCase()];
    if (compareVersions(version, limit) > 0)
      faults.push(
        `it needs ${set}_${version}, newer than the ${set}_${limit} of package.json: ` +
          "build with an older toolchain (GCC 12 on glibc 2.36 does), or add what is new to cmake/Baseline.cmake",
      );
  }
  return faults;
}
