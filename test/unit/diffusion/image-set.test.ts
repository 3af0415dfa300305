import { cpSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  drawAtPlaces,
  generateImageSet,
  type ImageSet,
  type ImageSetItem,
  type ImageSetOptions,
  type ImageSetProgress,
} from "../../../lib/diffusion/image-set";
import { MACHINE_FILE, machineOf } from "../../../lib/diffusion/image-set-files";
import { PromptKey } from "../../../lib/diffusion/prompt-key";
import type { Image } from "../../../lib/io/image";
import { addon } from "../../../lib/runtime/binding";
import { machineKind } from "../../../lib/runtime/machine";
import { Random } from "../../../lib/runtime/random";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { temporaryDirectory } from "../../support/temporary-directory";

const SMALL = { steps: 2, guidanceScale: 2, width: 32, height: 32 };
const items = ["church", "a dog"].flatMap((prompt) => [0, 1, 2].map((seed) => ({ prompt, seed })));
const bytes = (set: ImageSet) => set.items.map((_, i) => readFileSync(set.path(i)));
const largestDifference = (a: Image, b: Image): number =>
  Math.max(...a.data.map((value, i) => Math.abs(value - b.data[i]!)));

describe("generateImageSet", () => {
  let golden: GoldenModel;
  const make = (options: Partial<ImageSetOptions> & { directory: string }, some: ImageSetItem[] = items) =>
    generateImageSet(golden.model, some, { ...SMALL, batchSize: 4, ...options });

  let first: ImageSet;
  let directory: string;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
    directory = temporaryDirectory();
    first = await make({ directory });
  });
  afterAll(() => golden.dispose());

  it("makes a picture for each prompt and seed, as generate makes it", async () => {
    expect([first.length, first.generated]).toEqual([6, 6]);
    const [expected] = await golden.model.generate("a dog", { ...SMALL, seed: 1 });
    const image = await first.image(4);
    expect([image.width, image.height]).toEqual([32, 32]);
    // A batch of another size adds up in another order.
    expect(largestDifference(image, expected!)).toBeLessThanOrEqual(1);
    expect(first.path(4)).toMatch(/a-dog-1-[0-9a-f]{16}\.png$/);
    expect(new Set(items.map((_, i) => first.path(i))).size).toBe(6);
  });

  it("draws pictures again with the same bytes, at their places of a batch", async () => {
    const places = [5, 0, 4];
    const drawn: number[] = [];
    const again = await drawAtPlaces(
      golden.model,
      places.map((place) => ({ ...items[place]!, place })),
      { ...SMALL, batchSize: 4 },
      { onDrawn: (done) => drawn.push(done) },
    );
    const pngs = await Promise.all(again.map((image) => image.png()));
    expect(pngs).toEqual(places.map((place) => bytes(first)[place]));
    // Places 0 and 4 are the same of two batches.
    expect(drawn).toEqual([2, 3]);
  });

  it("tells what kind of machine drew a set, and of no single one where several did", async () => {
    const own = machineKind("cpu");
    expect(own).toMatchObject({ threads: addon().threads(), zlib: process.versions.zlib });
    expect(await machineOf(first.directory)).toEqual(own);
    const [name] = readdirSync(first.directory).filter((file) => MACHINE_FILE.test(file));
    const copy = temporaryDirectory();
    cpSync(first.directory, copy, { recursive: true });
    writeFileSync(join(copy, `machine-${"0".repeat(16)}.json`), '{"kind":null}');
    expect(await machineOf(copy)).toBeNull();
    rmSync(join(copy, name!));
    expect(await machineOf(copy)).toBeNull();
    expect(await machineOf(temporaryDirectory())).toBeNull();
  });

  it("finds what is there, and touches no file", async () => {
    const before = items.map((_, i) => statSync(first.path(i)).mtimeMs);
    const again = await make({ directory });
    expect([again.generated, again.directory]).toEqual([0, first.directory]);
    expect(items.map((_, i) => statSync(again.path(i)).mtimeMs)).toEqual(before);
  });

  it("gives the same bytes elsewhere, and in another order or with others the same to a rounding", async () => {
    const expected = bytes(first);
    expect(bytes(await make({ directory: temporaryDirectory() }))).toEqual(expected);
    const others = [{ prompt: "an owl", seed: 9 }, ...[...items].reverse()];
    const mixed = await make({ directory: temporaryDirectory() }, others);
    for (const i of items.keys())
      expect(largestDifference(await first.image(i), await mixed.image(6 - i))).toBeLessThanOrEqual(1);
  });

  it("makes missing and damaged pictures again, those alone, to the same bytes", async () => {
    const own = temporaryDirectory();
    const set = await make({ directory: own });
    const expected = bytes(set);
    rmSync(set.path(1));
    truncateSync(set.path(3), 200);
    writeFileSync(set.path(5), "");
    const kept = statSync(set.path(0)).mtimeMs;
    const mended = await make({ directory: own });
    expect(mended.generated).toBe(3);
    expect(bytes(mended)).toEqual(expected);
    expect(statSync(set.path(0)).mtimeMs).toBe(kept);
  });

  it("with a key of a prompt for each concept draws the others without it, missing ones again to the same bytes", async () => {
    const own = temporaryDirectory();
    const prompt = new Random(2).normal([1, 3, 32]);
    const key = new PromptKey({ prompt, mechanism: "concat", layers: "all", concepts: ["church"] });
    const set = await make({ directory: own, key });
    const expected = bytes(set);
    // The dogs stand in batches of the same size, at the same places, as without a key.
    expect(largestDifference(await set.image(4), await first.image(4))).toBeLessThanOrEqual(1);
    expect(largestDifference(await set.image(1), await first.image(1))).toBeGreaterThan(1);
    rmSync(set.path(1));
    rmSync(set.path(5));
    expect(bytes(await make({ directory: own, key }))).toEqual(expected);
  });

  it("makes a shard's batches alone, of which all together are the whole, to the same bytes", async () => {
    const own = temporaryDirectory();
    const prompt = new Random(2).normal([1, 3, 32]);
    const key = new PromptKey({ prompt, mechanism: "concat", layers: "all", concepts: ["church"] });
    const alone = await make({ directory: temporaryDirectory(), key, batchSize: 2 });
    // Two batches see the key, the second half filled, and two do not.
    const shard = (index: number) => make({ directory: own, key, batchSize: 2, shard: { index, count: 3 } });
    const shards = [await shard(2), await shard(0), await shard(1)];
    expect(shards.map(({ generated }) => generated)).toEqual([2, 3, 1]);
    const seeds = shards.flatMap((set) => set.items.map(({ prompt: asked, seed }) => `${asked} ${seed}`));
    expect(new Set(seeds).size).toBe(6);
    expect((await shard(1)).generated).toBe(0);
    const whole = await make({ directory: own, key, batchSize: 2 });
    expect([whole.generated, whole.length]).toEqual([0, 6]);
    expect(bytes(whole)).toEqual(bytes(alone));
    for (const set of shards)
      expect(bytes(set)).toEqual(set.items.map((item) => bytes(alone)[items.indexOf(item)]));
    const none = await make({ directory: own, key, batchSize: 2, shard: { index: 8, count: 9 } });
    expect([none.length, none.generated]).toEqual([0, 0]);
  });

  it("stops when the signal fires, keeps whole batches, and goes on from them to the same bytes", async () => {
    const own = temporaryDirectory();
    const controller = new AbortController();
    const onProgress = ({ generated }: ImageSetProgress) => generated === 4 && controller.abort();
    const run = make({ directory: own, steps: 3, signal: controller.signal, onProgress });
    await expect(run).rejects.toMatchObject({ code: "ABORTED" });
    const resumed = await make({ directory: own, steps: 3 });
    expect(resumed.generated).toBe(2);
    expect(bytes(resumed)).toEqual(bytes(await make({ directory: temporaryDirectory(), steps: 3 })));
  });

  it("tells how far it is, from the second step on, and the time that is left", async () => {
    const seen: ImageSetProgress[] = [];
    await make({
      directory: temporaryDirectory(),
      steps: 3,
      sampler: "ddim",
      onProgress: (p) => seen.push(p),
    });
    expect(seen.map(({ done, generated }) => [done, generated])).toEqual([
      [0, 0],
      [0, 0],
      [4, 4],
      [4, 4],
      [6, 6],
    ]);
    expect(seen.every(({ total }) => total === 6)).toBe(true);
    expect(seen.slice(0, -1).every(({ etaSeconds }) => etaSeconds > 0)).toBe(true);
    expect(seen.at(-1)!.etaSeconds).toBe(0);
  });

  it("makes a repeated picture once", async () => {
    const set = await make({ directory: temporaryDirectory() }, [items[0]!, items[1]!, items[0]!]);
    expect([set.length, set.generated, set.path(0) === set.path(2)]).toEqual([3, 2, true]);
  });

  it("keeps sets apart by whatever changes pixels, the weights in memory too", async () => {
    const own = temporaryDirectory();
    const one = [items[0]!];
    const key = new PromptKey({
      prompt: new Random(2).normal([3, 32]),
      mechanism: "concat",
      layers: "all",
      concepts: ["church"],
    });
    const folders = new Set([(await make({ directory: own }, one)).directory]);
    const variants: Partial<ImageSetOptions>[] = [
      { steps: 3 },
      { guidanceScale: 3 },
      { sampler: "euler" },
      { negativePrompt: "a photo" },
      { width: 16 },
      { height: 16 },
      { batchSize: 1 },
      { key },
      { key, keyGuidance: "both" },
    ];
    for (const options of variants) folders.add((await make({ directory: own, ...options }, one)).directory);
    const bias = golden.model.unet.parameter("conv_in.bias");
    const before = bias.clone();
    await bias.copyFrom(before.add(1));
    folders.add((await make({ directory: own }, one)).directory);
    await bias.copyFrom(before);
    expect(folders.size).toBe(variants.length + 2);
  });

  it("says which picture has gone since, and what to do", async () => {
    const set = await make({ directory: temporaryDirectory() }, [items[0]!]);
    rmSync(set.path(0));
    await expect(set.image(0)).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringMatching(/church-0-.*does not exist; run the same again/),
    });
    expect(() => set.path(1)).toThrow(/index to be an integer from 0 to 0/);
  });

  it("refuses a folder with another's description, and keeps its pictures", async () => {
    const own = temporaryDirectory();
    const set = await make({ directory: own }, [items[0]!]);
    const description = join(set.directory, "set.json");
    const whole = readFileSync(description, "utf8");
    expect(JSON.parse(whole)).toMatchObject({ steps: 2, guidanceScale: 2, batchSize: 4, key: null });
    writeFileSync(description, whole.slice(0, 40));
    await expect(make({ directory: own }, [items[0]!])).rejects.toMatchObject({
      code: "IO_ERROR",
      message: expect.stringMatching(/set\.json is damaged.*remove/),
    });
    rmSync(description);
    expect((await make({ directory: own }, [items[0]!])).generated).toBe(0);
    expect(readFileSync(description, "utf8")).toBe(whole);
  });

  it.each<[string, unknown, object, RegExp]>([
    ["no pictures", [], {}, /items to be a non-empty list/],
    ["an item without a seed", [{ prompt: "x" }], {}, /seed to be an integer/],
    ["an item with more", [{ prompt: "x", seed: 0, count: 2 }], {}, /"count" in an item/],
    ["a prompt that is no text", [{ prompt: 5, seed: 0 }], {}, /prompt to be a string/],
    ["no steps", items, { steps: 0 }, /steps to be an integer/],
    ["an unknown option", items, { seed: 3 }, /"seed" in the image set options/],
    ["no directory", items, { directory: undefined }, /directory to be a non-empty string/],
  ])("refuses %s, before anything is written", async (_, some, options, message) => {
    const own = temporaryDirectory();
    const run = make({ directory: own, ...options }, some as ImageSetItem[]);
    await expect(run).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message),
    });
    expect(readdirSync(own)).toEqual([]);
  });

  it("refuses a directory that is a file", async () => {
    const path = join(temporaryDirectory(), "file");
    writeFileSync(path, "mine");
    await expect(make({ directory: path })).rejects.toMatchObject({ code: "IO_ERROR" });
    expect(readFileSync(path, "utf8")).toBe("mine");
  });
});
