import { closeSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as safetensors from "../../../lib/io/safetensors";
import { mapTensors } from "../../../lib/runtime/mapped";
import { Tensor } from "../../../lib/runtime/tensor";
import { safetensorsBytes } from "../../support/safetensors-bytes";
import { temporaryDirectory } from "../../support/temporary-directory";
import { mappingsOf } from "../../support/mappings";

const values = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);

/** A file of two float32 tensors of `count` elements: 0, 1, 2, ... and as many ones. */
async function twoTensors(count: number): Promise<string> {
  const path = join(temporaryDirectory(), "a.safetensors");
  const a = Tensor.from(
    Float32Array.from({ length: count }, (_, i) => i % 4096),
    [count],
  );
  await safetensors.save(path, { a, b: Tensor.from(new Float32Array(count).fill(1), [count]) });
  return path;
}

describe("safetensors.load by mapping", () => {
  it("holds the pages of a file once, however often it is loaded, and gives them back", async () => {
    const path = await twoTensors(2 ** 20);
    const size = 2 ** 23;
    const loads = await Promise.all(Array.from({ length: 4 }, () => safetensors.load(path)));
    for (const tensors of loads) for (const tensor of tensors.values()) await tensor.sum().item();
    const held = mappingsOf("self", path);
    expect(held.count).toBe(4);
    expect(held.rss).toBeGreaterThan(3.9 * size);
    expect(held.pss).toBeLessThan(1.1 * size);
    expect(held.privateDirty).toBe(0);
    for (const tensors of loads) for (const tensor of tensors.values()) tensor.dispose();
    await Tensor.from([1], [1]).add(1).item();
    expect(mappingsOf("self", path).count).toBe(0);
    const copied = await safetensors.load(path, { mapped: false });
    expect(mappingsOf("self", path).count).toBe(0);
    expect(await copied.get("b")!.sum().item()).toBe(2 ** 20);
  });

  it("writes to private pages: neither the file nor another load of it changes", async () => {
    const path = await twoTensors(5000);
    const before = readFileSync(path);
    const [one, other] = await Promise.all([safetensors.load(path), safetensors.load(path)]);
    await one.get("a")!.copyFrom(Tensor.zeros([5000]));
    const trained = await one.get("b")!.requireGrad();
    await trained.mul(2).sum().backward();
    one.get("b")!.hostBytes().fill(0, 0, 4);
    expect(await one.get("a")!.abs().sum().item()).toBe(0);
    expect(await trained.detach().sum().item()).toBe(4999);
    expect(mappingsOf("self", path).privateDirty).toBeGreaterThan(0);
    expect(await values(other.get("a")!)).toEqual(Array.from({ length: 5000 }, (_, i) => i % 4096));
    expect(await other.get("b")!.sum().item()).toBe(5000);
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  it("keeps its values when the file is saved over, replaced by a rename, or deleted", async () => {
    const path = await twoTensors(5000);
    const bytes = readFileSync(path);
    const tensors = await safetensors.load(path);
    await safetensors.save(path, tensors);
    expect(readFileSync(path).equals(bytes)).toBe(true);
    writeFileSync(`${path}.new`, "");
    renameSync(`${path}.new`, path);
    expect(await tensors.get("b")!.sum().item()).toBe(5000);
    rmSync(path);
    expect(await values(tensors.get("a")!)).toEqual(Array.from({ length: 5000 }, (_, i) => i % 4096));
  });

  it("copies tensors that lie where their dtype may not, and maps the others", async () => {
    const path = join(temporaryDirectory(), "a.safetensors");
    const header = {
      odd: { dtype: "F32", shape: [2], data_offsets: [1, 9] },
      one: { dtype: "U8", shape: [1], data_offsets: [0, 1] },
    };
    const json = JSON.stringify(header);
    const padded = json.padEnd(Math.ceil(json.length / 8) * 8);
    const file = safetensorsBytes(padded, 9);
    file.writeFloatLE(1.5, file.length - 8);
    file.writeFloatLE(-2, file.length - 4);
    writeFileSync(path, file);
    const tensors = await safetensors.load(path);
    expect(await values(tensors.get("odd")!)).toEqual([1.5, -2]);
    expect(await values(tensors.get("one")!)).toEqual([0]);
    expect(mappingsOf("self", path).count).toBe(1);
  });

  it("refuses other options", async () => {
    const load = safetensors.load as (path: string, options: unknown) => Promise<unknown>;
    await expect(load("a", { mapped: 1 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(load("a", { mmap: true })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("mapTensors", () => {
  it("takes places inside the file that fit their dtype, and no file of another length", async () => {
    const path = await twoTensors(8);
    const { length } = readFileSync(path);
    const file = openSync(path, "r");
    const at = (offset: number, shape: number[], size = length) =>
      mapTensors(file, size, [{ offset, shape, dtype: "float32" }]);
    try {
      const [last] = at(length - 4, [1, 1])!;
      expect(await values(last!)).toEqual([1]);
      expect(await values(at(length, [0, 3])![0]!)).toEqual([]);
      expect(at(0, [1], length - 4)).toBeNull();
      expect(at(0, [1], length + 4)).toBeNull();
      const wrong = [
        [length, [1]],
        [-4, [1]],
        [0, [-1]],
        [length - 4, [2]],
        [0, [2 ** 31, 2 ** 31, 2 ** 31]],
        [2 ** 60, [1]],
      ] as const;
      for (const [offset, shape] of wrong) {
        expect(() => at(offset, [...shape])).toThrow(/Expected every tensor to lie inside the file/);
      }
      expect(() => at(2, [1])).toThrow(/Expected every tensor to start at a multiple/);
    } finally {
      closeSync(file);
    }
    expect(mapTensors(file, length, [{ offset: 0, shape: [1], dtype: "float32" }])).toBeNull();
  });
});
