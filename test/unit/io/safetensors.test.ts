import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as safetensors from "../../../lib/io/safetensors";
import { Tensor } from "../../../lib/runtime/tensor";
import { safetensorsBytes } from "../../support/safetensors-bytes";
import { temporaryDirectory } from "../../support/temporary-directory";

const DTYPES = ["float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool"] as const;

const numbers = async (tensor: Tensor) => Array.from(await tensor.data(), Number);

describe("safetensors", () => {
  it("gives every dtype and shape back", async () => {
    const path = join(temporaryDirectory(), "a.safetensors");
    const tensors = new Map(
      DTYPES.map((dtype, i) => [
        dtype,
        Tensor.from([0, 1, 1, 0, 1, 0], [[6], [2, 3], [1, 6], [3, 2, 1]][i % 4]!, { dtype }),
      ]),
    );
    await safetensors.save(path, tensors, { format: "pt", note: "é" });
    const loaded = await safetensors.load(path);
    expect(loaded.size).toBe(DTYPES.length);
    for (const [name, tensor] of tensors) {
      const found = loaded.get(name)!;
      expect([found.dtype, found.shape]).toEqual([name, tensor.shape]);
      expect(await numbers(found)).toEqual([0, 1, 1, 0, 1, 0]);
    }
    const file = await safetensors.open(path);
    expect(file.metadata).toEqual({ format: "pt", note: "é" });
    await file.close();
  });

  it("gives scalars, empty tensors and odd names back", async () => {
    const path = join(temporaryDirectory(), "a.safetensors");
    const tensors = {
      "": Tensor.from([5], []),
      __proto__x: Tensor.from([], [0, 4]),
      "10": Tensor.from([1, 2], [2]),
    };
    await safetensors.save(path, tensors);
    const loaded = await safetensors.load(path);
    expect(await loaded.get("")!.item()).toBe(5);
    expect(loaded.get("__proto__x")!.shape).toEqual([0, 4]);
    expect(await numbers(loaded.get("10")!)).toEqual([1, 2]);
  });

  it("writes the elements of views, not of what they are views on", async () => {
    const path = join(temporaryDirectory(), "a.safetensors");
    const view = Tensor.from([1, 2, 3, 4, 5, 6], [2, 3]).transpose(0, 1);
    await safetensors.save(path, { view });
    const loaded = (await safetensors.load(path)).get("view")!;
    expect(loaded.shape).toEqual([3, 2]);
    expect(await numbers(loaded)).toEqual([1, 4, 2, 5, 3, 6]);
  });

  it("reads single tensors, as such or as bytes, until the file is closed", async () => {
    const path = join(temporaryDirectory(), "a.safetensors");
    await safetensors.save(path, { a: Tensor.from([1, 2], [2]), b: Tensor.from([3], [1]).to("float16") });
    const file = await safetensors.open(path);
    expect(file.names).toEqual(["a", "b"]);
    expect(file.dtypes.get("b")).toBe("F16");
    expect(file.shapes.get("a")).toEqual([2]);
    expect(await numbers(await file.read("a"))).toEqual([1, 2]);
    expect([...(await file.readBytes("b"))]).toEqual([0x00, 0x42]);
    const into = new Uint8Array(2);
    expect(await file.readBytes("b", into)).toBe(into);
    await expect(file.read("c")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await file.close();
    await expect(file.read("a")).rejects.toMatchObject({ code: "DISPOSED" });
  });

  it("gives the bytes of dtypes that tensors do not have, and no tensor", async () => {
    const path = join(temporaryDirectory(), "a.safetensors");
    const header = { a: { dtype: "F8_E4M3", shape: [2], data_offsets: [0, 2] } };
    writeFileSync(path, safetensorsBytes(header, 2));
    const file = await safetensors.open(path);
    expect([...(await file.readBytes("a"))]).toEqual([0, 1]);
    await expect(file.read("a")).rejects.toMatchObject({ code: "UNSUPPORTED_FORMAT" });
    await file.close();
    await expect(safetensors.load(path)).rejects.toMatchObject({ code: "UNSUPPORTED_FORMAT" });
  });

  it("refuses what is no tensor, metadata that is no text, and a path that is a folder", async () => {
    const code = { name: "KpopError", code: "INVALID_ARGUMENT" };
    for (const call of [
      safetensors.open(null as unknown as string),
      safetensors.load(5 as unknown as string),
      safetensors.save(null as unknown as string, {}),
      safetensors.save("x.safetensors", null as unknown as Record<string, Tensor>),
      safetensors.save("x.safetensors", {}, null as unknown as Record<string, string>),
    ])
      await expect(call).rejects.toMatchObject(code);
    const folder = temporaryDirectory();
    const path = join(folder, "a");
    const tensor = Tensor.from([1], [1]);
    const wrong = { a: [1, 2] } as unknown as Record<string, Tensor>;
    await expect(safetensors.save(path, wrong)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    const metadata = { n: 1 } as unknown as Record<string, string>;
    await expect(safetensors.save(path, { tensor }, metadata)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    mkdirSync(path);
    await expect(safetensors.save(path, { tensor })).rejects.toMatchObject({ code: "IO_ERROR" });
    await expect(safetensors.load(join(folder, "none"))).rejects.toMatchObject({ code: "NOT_FOUND" });
  });
});
