import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { elfHeader } from "./fake-libtorch";
import { zip } from "./zip-writer";

export interface WheelOptions {
  version?: string;
  cuda?: boolean;
  /** What the libraries hold after their headers. */
  filling?: string | Buffer;
}

/** A wheel of torch, as far as pip and `installRuntime` look at it, for any Python; nothing in it can be loaded. */
export function fakeWheel(folder: string, options: WheelOptions = {}): string {
  const { version = "2.13.0+cpu", cuda = false, filling = "" } = options;
  const library = Buffer.concat([elfHeader(), Buffer.from(filling)]);
  const names = ["libc10.so", "libtorch_cpu.so", "libtorch.so", ...(cuda ? ["libtorch_cuda.so"] : [])];
  const info = `torch-${version}.dist-info`;
  const path = join(folder, `torch-${version}-py3-none-any.whl`);
  writeFileSync(
    path,
    zip([
      ...names.map((name) => ({ name: `torch/lib/${name}`, content: library, stored: true })),
      { name: "torch/version.py", content: `__version__ = '${version}'\n` },
      { name: `${info}/METADATA`, content: `Metadata-Version: 2.1\nName: torch\nVersion: ${version}\n` },
      { name: `${info}/WHEEL`, content: "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-any\n" },
      { name: `${info}/RECORD`, content: "" },
    ]),
  );
  return path;
}
