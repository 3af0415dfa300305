import { appendFileSync, cpSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { readCheckpoint } from "../../../lib/io/checkpoint-read";
import { readTensor, readTensors } from "../../../lib/io/checkpoint-tensors";
import { streamTensors } from "../../../lib/io/stream-tensors";
import { golden, pocket } from "../../support/golden";
import { writeU8File } from "../../support/safetensors-bytes";
import { temporaryDirectory } from "../../support/temporary-directory";

describe("readTensors", () => {
  it("reads stored bytes into tensors of the stored dtype and the network's shape", async () => {
    const { textEncoder, vae } = await readCheckpoint(golden("small"));
    const wanted = new Map([
      ["words", textEncoder.tensors.get("text_model.embeddings.token_embedding.weight")!],
      ["q", vae.tensors.get("encoder.mid_block.attentions.0.to_q.weight")!],
    ]);
    const read = await readTensors(wanted);
    expect([...read.keys()]).toEqual(["words", "q"]);
    expect([read.get("words")!.dtype, read.get("words")!.shape]).toEqual(["float16", [49408, 32]]);
    for (const [name, { file, offset, bytes }] of wanted) {
      const stored = readFileSync(file).subarray(offset, offset + bytes);
      expect(stored.equals(await read.get(name)!.bytes())).toBe(true);
    }
    expect((await readTensor(wanted.get("q")!)).shape).toEqual([32, 32]);
  });

  it("reports progress up to the whole", async () => {
    const { tensors } = (await readCheckpoint(pocket())).vae;
    const reports: { bytes: number; totalBytes: number; tensors: number; totalTensors: number }[] = [];
    await readTensors(tensors, { onProgress: (report) => reports.push(report) });
    const total = [...tensors.values()].reduce((sum, { bytes }) => sum + bytes, 0);
    expect(reports).toHaveLength(tensors.size);
    expect(reports.at(-1)).toEqual({
      bytes: total,
      totalBytes: total,
      tensors: tensors.size,
      totalTensors: tensors.size,
    });
  });

  it("refuses a file that has changed since its header was read", async () => {
    const path = join(temporaryDirectory(), "model");
    cpSync(pocket(), path, { recursive: true });
    const { tensors } = (await readCheckpoint(path)).vae;
    appendFileSync(join(path, "vae/diffusion_pytorch_model.safetensors"), "x");
    await expect(readTensors(tensors)).rejects.toMatchObject({
      code: "IO_ERROR",
      message: expect.stringMatching(/has changed since/) as string,
    });
  });

  it("stops when aborted, before or while reading", async () => {
    const { tensors } = (await readCheckpoint(pocket())).unet;
    const before = readTensors(tensors, { signal: AbortSignal.abort() });
    await expect(before).rejects.toMatchObject({ code: "ABORTED" });
    const controller = new AbortController();
    let read = 0;
    const while_ = readTensors(tensors, {
      signal: controller.signal,
      onProgress: () => {
        if (++read === 3) controller.abort();
      },
    });
    await expect(while_).rejects.toMatchObject({ code: "ABORTED" });
    expect(read).toBeLessThan(10);
  });

  it("refuses dtypes that tensors do not have", async () => {
    const [location] = (await readCheckpoint(pocket())).unet.tensors.values();
    await expect(readTensor({ ...location!, dtype: "F8_E4M3" })).rejects.toMatchObject({
      code: "UNSUPPORTED_FORMAT",
    });
  });
});

describe("streamTensors", () => {
  it("asks for memory of the right size", async () => {
    const path = join(temporaryDirectory(), "a.safetensors");
    writeU8File(path, { a: [2] });
    const [location] = (await readCheckpoint(pocket())).unet.tensors.values();
    const wrong = streamTensors([location!], () => new Uint8Array(1));
    await expect(wrong).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
