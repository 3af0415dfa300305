import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SafetensorsReader, readHeader } from "../../../lib/io/safetensors-reader";
import { writeSafetensors } from "../../../lib/io/safetensors-writer";
import type { WriteEntry } from "../../../lib/io/safetensors-writer";
import { temporaryDirectory } from "../../support/temporary-directory";

const entry = (name: string, dtype: WriteEntry["dtype"], shape: number[], bytes: number[]): WriteEntry => ({
  name,
  dtype,
  shape,
  bytes: () => Promise.resolve(new Uint8Array(bytes)),
});

/** Bytes that Python's safetensors 0.8.0 wrote for the same tensors (`safetensors.numpy.save`). */
const REFERENCE = Buffer.from(
  "KAIAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJmb3JtYXQiOiJwdCJ9LCJCIjp7ImR0eXBlIjoiSTY0Iiwic2hhcGUiOltdLCJkYXRhX29mZnNldHMiOlswLDhdfSwid2lkZSI6eyJkdHlwZSI6IkY2NCIsInNoYXBlIjpbMV0sImRhdGFfb2Zmc2V0cyI6WzgsMTZdfSwibm9uZSI6eyJkdHlwZSI6IkYzMiIsInNoYXBlIjpbMCw0XSwiZGF0YV9vZmZzZXRzIjpbMTYsMTZdfSwieiI6eyJkdHlwZSI6IkYzMiIsInNoYXBlIjpbMl0sImRhdGFfb2Zmc2V0cyI6WzE2LDI0XX0sIsOpIjp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsxXSwiZGF0YV9vZmZzZXRzIjpbMjQsMjhdfSwiaSI6eyJkdHlwZSI6IkkzMiIsInNoYXBlIjpbMV0sImRhdGFfb2Zmc2V0cyI6WzI4LDMyXX0sImhhbGYiOnsiZHR5cGUiOiJGMTYiLCJzaGFwZSI6WzEsMl0sImRhdGFfb2Zmc2V0cyI6WzMyLDM2XX0sImJ5dGVzIjp7ImR0eXBlIjoiVTgiLCJzaGFwZSI6WzJdLCJkYXRhX29mZnNldHMiOlszNiwzOF19LCJmbGFncyI6eyJkdHlwZSI6IkJPT0wiLCJzaGFwZSI6WzNdLCJkYXRhX29mZnNldHMiOlszOCw0MV19fSAgICAgICAHAAAAAAAAAAAAAAAAAPA/AACAPwAAAEAAAEBABQAAAAA8AEABAgEAAQ==",
  "base64",
);

describe("writeSafetensors", () => {
  it("writes the bytes that the format's own library writes", async () => {
    const path = join(temporaryDirectory(), "a.safetensors");
    const entries = [
      entry("z", "F32", [2], [0, 0, 128, 63, 0, 0, 0, 64]),
      entry("flags", "BOOL", [3], [1, 0, 1]),
      entry("half", "F16", [1, 2], [0, 60, 0, 64]),
      entry("B", "I64", [], [7, 0, 0, 0, 0, 0, 0, 0]),
      entry("é", "F32", [1], [0, 0, 64, 64]),
      entry("bytes", "U8", [2], [1, 2]),
      entry("wide", "F64", [1], [0, 0, 0, 0, 0, 0, 240, 63]),
      entry("i", "I32", [1], [5, 0, 0, 0]),
      entry("none", "F32", [0, 4], []),
    ];
    await writeSafetensors(path, entries, new Map([["format", "pt"]]));
    expect(readFileSync(path).equals(REFERENCE)).toBe(true);
  });

  it("takes a tensor in pieces", async () => {
    const path = join(temporaryDirectory(), "a.safetensors");
    async function* pieces() {
      yield await Promise.resolve(new Uint8Array([1, 2]));
      yield new Uint8Array([3]);
    }
    await writeSafetensors(path, [{ name: "a", dtype: "U8", shape: [3], bytes: pieces }]);
    await using file = await SafetensorsReader.open(path);
    const into = new Uint8Array(3);
    await file.readInto("a", into);
    expect([...into]).toEqual([1, 2, 3]);
  });

  it.each([
    ["too few bytes", [1], /Expected 2 bytes for tensor "a" but received 1/],
    ["too many bytes", [1, 2, 3], /Expected 2 bytes for tensor "a" but received 3/],
  ])("refuses %s, and leaves the old file and nothing else", async (_, bytes, message) => {
    const folder = temporaryDirectory();
    const path = join(folder, "a.safetensors");
    writeFileSync(path, "old");
    await expect(writeSafetensors(path, [entry("a", "U8", [2], bytes)])).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
    expect(readFileSync(path, "utf8")).toBe("old");
    expect(readdirSync(folder)).toEqual(["a.safetensors"]);
  });

  it("refuses a name given twice and the metadata's own name", async () => {
    const path = join(temporaryDirectory(), "a.safetensors");
    const twice = [entry("a", "U8", [1], [1]), entry("a", "F16", [1], [1, 2])];
    await expect(writeSafetensors(path, twice)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const reserved = [entry("__metadata__", "U8", [1], [1])];
    await expect(writeSafetensors(path, reserved)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(existsSync(path)).toBe(false);
  });

  it("stops when aborted, and leaves nothing", async () => {
    const folder = temporaryDirectory();
    const controller = new AbortController();
    const entries = [entry("a", "U8", [1], [1]), entry("b", "U8", [1], [1])].map((e) => ({
      ...e,
      bytes: () => {
        controller.abort();
        return e.bytes();
      },
    }));
    const writing = writeSafetensors(join(folder, "a"), entries, new Map(), { signal: controller.signal });
    await expect(writing).rejects.toMatchObject({ code: "ABORTED" });
    expect(readdirSync(folder)).toEqual([]);
  });

  it("says which folder is missing", async () => {
    const path = join(temporaryDirectory(), "none", "a.safetensors");
    await expect(writeSafetensors(path, [])).rejects.toMatchObject({ code: "NOT_FOUND" });
  });
});

describe("SafetensorsReader", () => {
  it("refuses a folder, a missing file and a closed file", async () => {
    const folder = temporaryDirectory();
    await expect(SafetensorsReader.open(folder)).rejects.toMatchObject({ code: "IO_ERROR" });
    await expect(readHeader(join(folder, "none"))).rejects.toMatchObject({ code: "NOT_FOUND" });
    const path = join(folder, "a");
    await writeSafetensors(path, [entry("a", "U8", [1], [1])]);
    const file = await SafetensorsReader.open(path);
    await file.close();
    await file.close();
    await expect(file.readInto("a", new Uint8Array(1))).rejects.toMatchObject({ code: "DISPOSED" });
  });

  it("notices that the file has changed or ended since it was opened", async () => {
    const path = join(temporaryDirectory(), "a");
    await writeSafetensors(path, [entry("a", "U8", [4], [1, 2, 3, 4])]);
    await using file = await SafetensorsReader.open(path);
    const bytes = readFileSync(path);
    writeFileSync(path, Buffer.concat([bytes, Buffer.from([0])]));
    await expect(file.readInto("a", new Uint8Array(4))).rejects.toMatchObject({ code: "IO_ERROR" });
    writeFileSync(path, bytes.subarray(0, -1));
    await expect(file.readInto("a", new Uint8Array(4))).rejects.toMatchObject({
      code: "IO_ERROR",
      message: expect.stringMatching(/1 bytes early/) as string,
    });
  });

  it("refuses room of the wrong size", async () => {
    const path = join(temporaryDirectory(), "a");
    await writeSafetensors(path, [entry("a", "U8", [2], [1, 2])]);
    await using file = await SafetensorsReader.open(path);
    await expect(file.readInto("a", new Uint8Array(3))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(file.readInto("b", new Uint8Array(3))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
