import { readdirSync, rmSync, truncateSync } from "node:fs";
import { join } from "node:path";
import type { GenerateOptions } from "../../../lib/diffusion/generate-options";
import type { Image } from "../../../lib/io/image";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { temporaryDirectory } from "../../support/temporary-directory";

describe("generate in shards", () => {
  let golden: GoldenModel;
  const prompts = ["church", "a dog"];
  const drawing: GenerateOptions = {
    steps: 2,
    sampler: "ddim",
    guidanceScale: 2,
    width: 32,
    height: 32,
    count: 3,
    batchSize: 4,
  };
  let alone: Image[];
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
    alone = await golden.model.generate(prompts, drawing);
  });
  afterAll(() => golden.dispose());
  const shard = async (index: number, options: GenerateOptions = {}) => {
    const places: number[] = [];
    const images = await golden.model.generate(prompts, {
      ...drawing,
      shard: { index, count: 2 },
      onImages: (_, some) => void places.push(...some),
      ...options,
    });
    return { places, images: images.map(({ data }) => data) };
  };

  it("makes the batches of one process, with their bits", async () => {
    const data = alone.map((image) => image.data);
    expect(await shard(1)).toEqual({ places: [4, 5], images: data.slice(4) });
    expect(await shard(0)).toEqual({ places: [0, 1, 2, 3], images: data.slice(0, 4) });
    const none = { shard: { index: 2, count: 3 } };
    expect(await shard(0, none)).toEqual({ places: [], images: [] });
  });

  it("keeps them in a folder, where they are found, whole ones alone", async () => {
    const keepIn = join(temporaryDirectory(), "kept");
    await shard(1, { keepIn });
    await shard(0, { keepIn });
    let steps = 0;
    const found = await golden.model.generate(prompts, { ...drawing, keepIn, onStep: () => void steps++ });
    expect(steps).toBe(0);
    expect(found.map(({ data }) => data)).toEqual(alone.map(({ data }) => data));
    const [kept] = readdirSync(keepIn).filter((name) => name !== "run.json");
    truncateSync(join(keepIn, kept!, "5.png"), 100);
    const mended = await golden.model.generate(prompts, { ...drawing, keepIn, onStep: () => void steps++ });
    expect(steps).toBe(2);
    expect(mended.map(({ data }) => data)).toEqual(alone.map(({ data }) => data));
  });

  it("refuses other options and other models in that folder, and takes no picture of theirs for its own", async () => {
    const keepIn = temporaryDirectory();
    await shard(1, { keepIn });
    const before = readdirSync(keepIn, { recursive: true }).sort();
    await expect(shard(0, { keepIn, seed: 1 })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(
        /run\.json is of shards with other options.*seed was 0 there and is 1 here/,
      ) as string,
    });
    expect(readdirSync(keepIn, { recursive: true }).sort()).toEqual(before);
    rmSync(join(keepIn, "run.json"));
    const other = await golden.model.generate(prompts, { ...drawing, seed: 1 });
    expect((await shard(1, { keepIn, seed: 1 })).images).toEqual(other.slice(4).map(({ data }) => data));
  });
});
