import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { elfFault } from "../../../lib/runtime/elf";
import { elfHeader } from "../../support/fake-libtorch";
import { temporaryFolders } from "../../support/temporary";

const folder = temporaryFolders();

function written(bytes: Buffer): string {
  const path = join(folder(), "library.so");
  writeFileSync(path, bytes);
  return path;
}

describe("elfFault", () => {
  it("finds no fault in the running Node, which is an ELF file of this machine", () => {
    expect(elfFault(process.execPath)).toBeNull();
  });

  it("finds no fault in a bare header", () => {
    expect(elfFault(written(elfHeader()))).toBeNull();
  });

  it.each([0.2, 0.9, 0.999])("sees a real library cut to %d of its length", (part) => {
    const node = readFileSync(join(__dirname, "../../../build/Release/kpop_loader.node"));
    expect(elfFault(written(node.subarray(0, Math.floor(node.length * part))))).toBe("it is truncated");
  });

  it("sees a file of other bytes", () => {
    expect(elfFault(written(Buffer.from("#!/bin/sh\n".repeat(20))))).toBe("it is not a shared library");
    expect(elfFault(written(Buffer.alloc(0)))).toBe("it is not a shared library");
  });

  it("sees a library of another processor", () => {
    const arm = elfHeader();
    arm.writeUInt16LE(183, 18);
    expect(elfFault(written(arm))).toBe("it is not for x86-64");
  });

  it("sees that there is no file", () => {
    expect(elfFault(join(folder(), "none.so"))).toBe("it does not exist");
  });
});
