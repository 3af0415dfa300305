import { join } from "node:path";
import { Inversion, type InversionRecord } from "../../../lib/inversion/inversion";
import * as safetensors from "../../../lib/io/safetensors";
import { Random } from "../../../lib/runtime/random";
import { Tensor } from "../../../lib/runtime/tensor";
import { relativeError } from "../../support/compare";
import { temporaryDirectory } from "../../support/temporary-directory";

const record: InversionRecord = {
  inputs: { "unet/x.safetensors": "00" },
  images: 3,
  resized: [1],
  iterations: 10,
  seed: 4,
  unetEvaluations: 40,
  concept: "church",
  band: [0.6, 0.8],
};

describe("Inversion", () => {
  let folder: string;
  beforeAll(() => {
    folder = temporaryDirectory();
  });
  const embeddings = (): Tensor => new Random(1).normal([2, 8]);

  it("saves one tensor under the token's name, and loads as it was", async () => {
    const path = join(folder, "own.safetensors");
    const saved = new Inversion({ token: "<church>", embeddings: embeddings(), history: [], record });
    await saved.save(path);
    const file = await safetensors.open(path);
    expect(file.names).toEqual(["<church>"]);
    expect(file.metadata["format"]).toBe("pt");
    await file.close();
    const loaded = await Inversion.load(path);
    expect(loaded).toMatchObject({ token: "<church>", record, history: [] });
    expect(await relativeError(loaded.embeddings, embeddings())).toBe(0);
  });

  it("loads another tool's file of one vector in half precision, under another name if asked", async () => {
    const path = join(folder, "other.safetensors");
    await safetensors.save(path, { emb_params: Tensor.from([1, 2, 3], [3]).to("float16") });
    const loaded = await Inversion.load(path, { token: "<mine>" });
    expect(loaded).toMatchObject({ token: "<mine>", record: null });
    expect(loaded.embeddings.shape).toEqual([1, 3]);
    expect(loaded.embeddings.dtype).toBe("float32");
  });

  it.each<[string, Record<string, Tensor>]>([
    ["two tensors", { a: Tensor.zeros([1, 3]), b: Tensor.zeros([1, 3]) }],
    ["a tensor of three dimensions", { a: Tensor.zeros([1, 1, 3]) }],
    ["none", {}],
  ])("refuses a file of %s", async (_, tensors) => {
    const path = join(folder, "wrong.safetensors");
    await safetensors.save(path, tensors);
    await expect(Inversion.load(path)).rejects.toMatchObject({ code: "UNSUPPORTED_FORMAT" });
  });
});
