import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The smallest file that passes for a whole x86-64 shared library: an ELF header without segments and sections. */
export function elfHeader(): Buffer {
  const header = Buffer.alloc(64);
  header.write("\x7fELF", 0, "latin1");
  header.set([2, 1, 1], 4);
  header.writeUInt16LE(3, 16);
  header.writeUInt16LE(62, 18);
  header.writeBigUInt64LE(64n, 32);
  header.writeUInt16LE(56, 54);
  header.writeBigUInt64LE(64n, 40);
  header.writeUInt16LE(64, 58);
  return header;
}

export interface FakeOptions {
  version?: string | null;
  headers?: boolean;
  cuda?: boolean;
}

/** A folder that looks like a libtorch from outside; nothing in it can be loaded. */
export function fakeLibtorch(folder: string, options: FakeOptions = {}): string {
  const { version = "2.13.0+cpu", headers = false, cuda = false } = options;
  mkdirSync(join(folder, "lib"), { recursive: true });
  for (const name of ["libc10.so", "libtorch_cpu.so", "libtorch.so", ...(cuda ? ["libtorch_cuda.so"] : [])]) {
    writeFileSync(join(folder, "lib", name), elfHeader());
  }
  if (version !== null) writeFileSync(join(folder, "version.py"), `__version__ = '${version}'\n`);
  if (headers) {
    mkdirSync(join(folder, "include", "ATen"), { recursive: true });
    writeFileSync(join(folder, "include", "ATen", "ATen.h"), "");
  }
  return folder;
}

/** Compiles C into the shared library `folder/lib/<name>`, under that SONAME, linked with further arguments. */
export function compileLibrary(
  folder: string,
  name: string,
  source: string,
  linked: readonly string[] = [],
): string {
  mkdirSync(join(folder, "lib"), { recursive: true });
  const path = join(folder, "lib", name);
  const args = [
    "-shared",
    "-fPIC",
    `-Wl,-soname,${name}`,
    "-x",
    "c",
    "-",
    "-o",
    path,
    "-x",
    "none",
    ...linked,
  ];
  const { status, stderr } = spawnSync("cc", args, { input: source, encoding: "utf8" });
  if (status !== 0) throw new Error(`cc failed: ${stderr}`);
  return path;
}

/** Arguments that make a library need another one, of this name, which is not there when it is opened. */
export function needing(folder: string, name: string): string[] {
  return ["-Wl,--no-as-needed", compileLibrary(folder, name, "int nothing;")];
}

/** C that needs a function of a C library of the future, and the arguments to link it with. */
export function ofFutureGlibc(folder: string): [source: string, linked: string[]] {
  const map = join(folder, "version.map");
  writeFileSync(map, "GLIBC_2.99 { global: future; };\n");
  const future = compileLibrary(folder, "libc.so.6", "int future(void) { return 1; }", [
    `-Wl,--version-script=${map}`,
    "-nostdlib",
  ]);
  return ["int future(void); int present(void) { return future(); }", [future]];
}

/** A `python3` that runs a shell script; gives the folder to put on PATH. */
export function fakePython(folder: string, script: string): string {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "python3"), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return folder;
}
