import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { generateImageSet } from "../../../../lib/diffusion/image-set";
import type { ErasureJob } from "../../../../lib/erasure/job";
import { AnchorPictures, type AnchorPicturesOptions } from "../../../../lib/erasure/shared/anchor-pictures";
import type { PrepareReport } from "../../../../lib/training/step-report";
import { Random } from "../../../../lib/runtime/random";
import { Tensor } from "../../../../lib/runtime/tensor";
import { relativeError } from "../../../support/compare";
import { stubJob, type StubFields } from "../../../support/erasure-job";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { temporaryFolders } from "../../../support/temporary";

const folder = temporaryFolders();
const CASTLE = [{ anchor: "castle", targets: ["church"] }];
const CAT = [
  { anchor: "cat", targets: ["lynx"] },
  { anchor: "a cat", targets: ["a lynx", "one lynx"] },
];

describe("AnchorPictures", () => {
  let golden: GoldenModel;
  let cacheDirectory: string;
  beforeAll(async () => {
    golden = await loadGolden("small");
    cacheDirectory = folder();
  });
  afterAll(() => golden.dispose());

  const settings = (more: Partial<AnchorPicturesOptions>): AnchorPicturesOptions => ({
    images: 3,
    samplingSteps: 2,
    guidanceScale: 2,
    cacheDirectory,
    augmentation: "none",
    batchSize: 2,
    ...more,
  });
  const job = (more: StubFields = {}): ErasureJob => stubJob({ base: golden.model, ...more });

  it("draws captions in turn with seeds from 0, whatever the run's seed, and keeps each picture once", async () => {
    const own = folder();
    for (const seed of [0, 5]) {
      await AnchorPictures.create(job({ seed }), [CAT, CASTLE, CASTLE], settings({ cacheDirectory: own }));
    }
    const [set] = readdirSync(own);
    const names = readdirSync(join(own, set!)).map((name) => name.replace(/-[0-9a-f]{16}/, ""));
    expect(names.sort()).toEqual(
      [
        "a-cat-1.png",
        "cat-0.png",
        "cat-2.png",
        "castle-0.png",
        "castle-1.png",
        "castle-2.png",
        "machine.json",
        "set.json",
      ].sort(),
    );
  });

  it("counts what making pictures spent, and nothing for those that it finds; tells how far it is", async () => {
    const own = settings({ cacheDirectory: folder(), images: 5 });
    const reports: PrepareReport[] = [];
    const first = job({ onPrepare: (report) => void reports.push(report) });
    await first.evaluations.run(() => AnchorPictures.create(first, [CASTLE], own));
    // Two batches of four pictures; PNDM takes a step more than it is asked for, and guidance two evaluations.
    expect(first.evaluations.total).toBe(2 * 4 * (2 + 1) * 2);
    expect(reports.at(0)).toMatchObject({ what: "picture", total: 5 });
    expect(reports.at(-1)).toEqual({ what: "picture", done: 5, total: 5, etaSeconds: 0 });
    const again = job();
    await again.evaluations.run(() => AnchorPictures.create(again, [CASTLE], own));
    expect(again.evaluations.total).toBe(0);
  });

  it("gives the mean latents of its pictures, scaled, within 1e-5, with their captions", async () => {
    const pictures = await AnchorPictures.create(job(), [CAT], settings({ batchSize: 6 }));
    const { clean, mask, anchors, targets } = await pictures.next(0);
    expect([clean.shape, mask]).toEqual([[6, 4, 16, 16], null]);
    const items = ["cat", "a cat", "cat"].map((prompt, seed) => ({ prompt, seed }));
    const set = await generateImageSet(golden.model, items, {
      directory: cacheDirectory,
      steps: 2,
      guidanceScale: 2,
    });
    const seen = new Set<number>();
    for (let item = 0; item < 6; item++) {
      const index = new Random(0).at("anchor", 0, item, "picture").below(3);
      seen.add(index);
      expect(anchors[item]).toBe(items[index]!.prompt);
      expect(anchors[item] === "cat" ? ["lynx"] : ["a lynx", "one lynx"]).toContain(targets[item]);
      const { data } = await set.image(index);
      const pixels = Tensor.from(
        Float32Array.from(data, (byte) => (byte / 255) * 2 - 1),
        [1, 64, 64, 3],
      );
      const { mean } = await golden.model.vae.encode(pixels.permute([0, 3, 1, 2]));
      const expected = mean.mul(golden.model.vae.config.scaling_factor);
      expect(await relativeError(clean.slice(0, item, item + 1), expected)).toBeLessThan(1e-5);
    }
    expect(seen.size).toBeGreaterThan(1);
  });

  it("lets the concepts take turns, from one iteration to the next", async () => {
    const pictures = await AnchorPictures.create(job(), [CAT, CASTLE, CAT], settings({ images: 2 }));
    const kinds: string[] = [];
    for (let i = 0; i < 3; i++)
      kinds.push(...(await pictures.next(i)).targets.map((target) => target.split(" ").at(-1)!));
    expect(kinds).toEqual(["lynx", "church", "lynx", "lynx", "church", "lynx"]);
  });

  it("puts what the sizes say before both captions, and masks the loss", async () => {
    const pictures = await AnchorPictures.create(
      job(),
      [CASTLE],
      settings({ augmentation: "scale", batchSize: 12 }),
    );
    const { clean, mask, anchors, targets } = await pictures.next(0);
    expect([clean.shape, mask!.shape]).toEqual([
      [12, 4, 16, 16],
      [12, 1, 16, 16],
    ]);
    const phrases = anchors.map((anchor) => anchor.replace(/ ?castle$/, ""));
    expect(targets).toEqual(phrases.map((phrase) => `${phrase} church`.trim()));
    expect(new Set(phrases).size).toBeGreaterThan(2);
    const kept = Array.from(await mask!.mean([1, 2, 3]).data(), Number);
    phrases.forEach((phrase, item) => {
      if (/zoomed|close/.test(phrase)) expect(kept[item]).toBe(1);
      else expect(kept[item]).toBeLessThan(/far|small/.test(phrase) ? 0.36 : 1);
    });
  });

  it("only mirrors where it is told to: no mask, no phrase, latents of the picture or of its mirror image", async () => {
    const plain = await AnchorPictures.create(job(), [CASTLE], settings({ images: 1, batchSize: 8 }));
    const mirrored = await AnchorPictures.create(
      job(),
      [CASTLE],
      settings({ images: 1, batchSize: 8, augmentation: "mirror" }),
    );
    const [a, b] = [await plain.next(0), await mirrored.next(0)];
    expect([b.mask, b.anchors, b.targets]).toEqual([null, a.anchors, a.targets]);
    const apart = Array.from(await a.clean.sub(b.clean).abs().mean([1, 2, 3]).data(), Number);
    expect(apart.filter((difference) => difference < 1e-5).length).toBeGreaterThan(0);
    expect(apart.filter((difference) => difference > 1e-2).length).toBeGreaterThan(0);
  });

  it("stops when the signal fires, and goes on from the pictures that are there", async () => {
    const own = settings({ cacheDirectory: folder(), images: 8 });
    const controller = new AbortController();
    const onPrepare = ({ done }: PrepareReport): void => void (done === 4 && controller.abort());
    const stopped = AnchorPictures.create(job({ signal: controller.signal, onPrepare }), [CASTLE], own);
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
    const [set] = readdirSync(own.cacheDirectory);
    const first = readdirSync(join(own.cacheDirectory, set!)).filter((name) => name.endsWith(".png"));
    expect(first).toHaveLength(4);
    const times = first.map((name) => statSync(join(own.cacheDirectory, set!, name)).mtimeMs);
    await AnchorPictures.create(job(), [CASTLE], own);
    expect(first.map((name) => statSync(join(own.cacheDirectory, set!, name)).mtimeMs)).toEqual(times);
  });
});
