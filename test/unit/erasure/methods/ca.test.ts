import type { Erasure } from "../../../../lib/erasure/erasure";
import type { CaOptions } from "../../../../lib/erasure/methods/ca";
import { AnchorPictures } from "../../../../lib/erasure/shared/anchor-pictures";
import type { PrepareReport } from "../../../../lib/training/step-report";
import { Random } from "../../../../lib/runtime/random";
import { Tensor } from "../../../../lib/runtime/tensor";
import { caTrials, IMAGES, PICTURES, SEED, type TrialCaptions } from "../../../support/ca-trials";
import { stubJob } from "../../../support/erasure-job";
import type { CaSetting } from "../../../support/reference-ca";

const losses = ({ history }: Erasure): Record<string, number>[] => history.map((report) => report.losses);

interface Variant {
  options?: Partial<CaOptions>;
  setting?: Partial<CaSetting>;
  captions?: TrialCaptions;
  preserve?: string[];
}

describe("CA", () => {
  const { run, batches, expectEquations, folder, model, cacheDirectory } = caTrials();

  const inStyle = (caption: string): [string, ...string[]] => {
    const before = `in Monet's style, ${caption}`;
    return [caption, `${caption}, in the style of Monet`, before, before];
  };

  it.each<[string, Variant]>([
    ["its defaults", {}],
    [
      "an anchor for each of several concepts, in several templates",
      {
        options: {
          concepts: ["church", "English springer"],
          anchor: ["building", "dog"],
          templates: ["{}", "a photo of a {}"],
        },
        captions: [
          [
            ["building", "church"],
            ["a photo of a building", "a photo of a church"],
          ],
          [
            ["dog", "English springer"],
            ["a photo of a dog", "a photo of a English springer"],
          ],
        ],
      },
    ],
    [
      "captions of one's own",
      {
        options: { anchor: "house", anchorPrompts: ["a house by a lake", "two houses"] },
        captions: [
          [
            ["a house by a lake", "a church by a lake"],
            ["two houses", "two churchs"],
          ],
        ],
      },
    ],
    [
      "a style",
      {
        options: { concepts: "Monet", kind: "style", anchorPrompts: ["painting", "a lake"] },
        captions: [[inStyle("painting"), inStyle("a lake")]],
      },
    ],
    [
      "an anchor and a prior loss, weighted",
      {
        options: { anchor: "castle", priorWeight: 0.7 },
        setting: { priorWeight: 0.7 },
        captions: [[["castle", "church"]]],
      },
    ],
    [
      "the noise as target and a prior loss",
      {
        options: { objective: "noise", priorWeight: 2 },
        setting: { objective: "noise", priorWeight: 2 },
      },
    ],
    ["prompts to preserve", { options: { preserve: ["a dog", "a fish"] }, preserve: ["a dog", "a fish"] }],
    [
      "all attention, little decay and a low bound on gradients",
      {
        options: { parameters: "attn", weightDecay: 0.5, maxGradientNorm: 1e-3 },
        setting: {
          trained: (name) => /attn[12]\.to_(q|k|v|out\.0)\./.test(name),
          weightDecay: 0.5,
          maxGradientNorm: 1e-3,
        },
      },
    ],
  ])("with %s has the losses of its equations within 0.2 %%, and AdamW's weights", async (_, variant) => {
    const { options, setting, captions = [[["a photo", "church"]]], preserve } = variant;
    const erasure = await run(options);
    await expectEquations(erasure, await batches(captions, preserve), setting);
    expect(erasure.key).toBeUndefined();
    erasure.dispose();
  });

  it("trains on scaled and mirrored pictures, with the loss inside of their border", async () => {
    const options = { augment: true, iterations: 1, batchSize: 4 };
    const erasure = await run(options);
    const pictures = await AnchorPictures.create(
      stubJob({ base: model(), seed: SEED }),
      [[{ anchor: "a photo", targets: ["church"] }]],
      { images: IMAGES, ...PICTURES, cacheDirectory: cacheDirectory(), augmentation: "scale", batchSize: 4 },
    );
    const { clean, mask, anchors, targets } = await pictures.next(0);
    const draws = [0, 1, 2, 3].map((item) => new Random(SEED).at("noise", 0, item));
    const batch = {
      clean,
      anchors: [...anchors],
      targets: [...targets],
      noise: Tensor.cat(draws.map((draw) => draw.normal([1, 4, 16, 16]))),
      timesteps: draws.map((draw) => draw.at("timestep").below(1000)),
    };
    await expectEquations(erasure, [{ ...batch, mask: mask! }]);
    await expect(expectEquations(erasure, [batch])).rejects.toThrow();
    erasure.dispose();
  });

  it("only mirrors a style's pictures: no caption says that they are far or near", async () => {
    const style = { concepts: "Monet", kind: "style", batchSize: 4 } as const;
    const plain = await run({ ...style, augment: false });
    const mirrored = await run({ ...style, augment: true });
    losses(mirrored).forEach(({ erase: loss }, i) => {
      const other = losses(plain)[i]!["erase"]!;
      expect(loss).not.toBe(other);
      // Another picture, or another caption, changes more.
      expect(loss! / other).toBeGreaterThan(0.5);
      expect(loss! / other).toBeLessThan(2);
    });
    plain.dispose();
    mirrored.dispose();
  });

  it("learns: the loss falls below a third in 20 iterations", async () => {
    const erasure = await run({ iterations: 20, learningRate: 2e-3, anchor: "castle" });
    const mean = (from: number, to: number): number =>
      losses(erasure)
        .slice(from, to)
        .reduce((sum, { erase: loss }) => sum + loss! / (to - from), 0);
    expect(mean(14, 20)).toBeLessThan(mean(0, 4) / 3);
    erasure.dispose();
  });

  it("makes pictures once: later runs, of other seeds and concepts too, find them", async () => {
    const own = { cacheDirectory: folder(), anchor: "castle", iterations: 1 };
    const reports: PrepareReport[] = [];
    const first = await run({ ...own, onPrepare: (report) => void reports.push(report) });
    expect(reports.at(-1)).toEqual({ what: "picture", done: IMAGES, total: IMAGES, etaSeconds: 0 });
    const again = await run(own);
    const other = await run({ ...own, seed: 3, concepts: ["church", "dog"] });
    const spent = (erasure: Erasure): number => erasure.manifest.unetEvaluations;
    expect(spent(other)).toBe(spent(again));
    // Pictures are made four at a time, with guidance; PNDM takes a step more than it is asked for.
    expect(spent(first) - spent(again)).toBe(4 * (PICTURES.samplingSteps + 1) * 2);
    expect(losses(again)).toEqual(losses(first));
    for (const erasure of [first, again, other]) erasure.dispose();
  });

  it("stops while it makes pictures", async () => {
    const controller = new AbortController();
    const steps: unknown[] = [];
    const stopped = run({
      cacheDirectory: folder(),
      images: 8,
      signal: controller.signal,
      onPrepare: () => controller.abort(),
      onStep: (report) => void steps.push(report),
    });
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
    expect(steps).toEqual([]);
  });

  it.each<[string, Partial<CaOptions>, number]>([
    ["two for the objective", {}, 2],
    ["one for the noise as target", { objective: "noise" }, 1],
    ["two for the noise as target and a prior loss", { objective: "noise", priorWeight: 1 }, 2],
    ["two for the objective and a prior loss", { priorWeight: 1 }, 2],
    ["four where something is preserved", { preserve: ["a dog"] }, 4],
  ])("spends evaluations a picture: %s", async (_, options, each) => {
    await run({ ...options, iterations: 1 }).then((erasure) => erasure.dispose());
    const erasure = await run({ ...options, iterations: 1 });
    expect(erasure.manifest.unetEvaluations).toBe(2 * each);
    erasure.dispose();
  });

  it.each<[string, object, RegExp]>([
    ["an unknown kind", { kind: "artist" }, /kind to be one of "object", "style"/],
    ["a blank anchor", { anchor: " " }, /anchor to be a non-empty string/],
    ["an anchor that is no text", { anchor: 5 }, /anchor to be a non-empty string but received 5/],
    [
      "the concept as its anchor",
      { anchor: "church" },
      /anchor to be another text than the concept "church"/,
    ],
    [
      "two anchors for three concepts",
      { concepts: ["a", "b", "c"], anchor: ["d", "e"] },
      /anchor to be one value or 3, one for each concept, but received/,
    ],
    ["captions in one string", { anchorPrompts: "a photo" }, /anchorPrompts to be a list/],
    [
      "captions without the anchor",
      { anchor: "cat", anchorPrompts: ["a dog"] },
      /anchorPrompts to name "cat"/,
    ],
    [
      "a caption that no concept takes",
      { anchor: "cat", anchorPrompts: ["a cat", "a dog"] },
      /each of anchorPrompts to be a text that names an anchor \("cat"\) but received "a dog"/,
    ],
    [
      "fewer pictures than captions",
      { templates: ["a {}", "the {}", "{}"], images: 2 },
      /images to be at least 3/,
    ],
    ["no pictures", { images: 0 }, /images/],
    ["an unknown objective", { objective: "anchor" }, /objective to be one of "model", "noise"/],
    ["a negative prior weight", { priorWeight: -1 }, /priorWeight/],
    ["a number in place of a switch", { augment: 1 }, /augment/],
    ["more steps than the schedule has", { samplingSteps: 1001 }, /samplingSteps/],
    ["a cache directory that is no path", { cacheDirectory: 5 }, /cacheDirectory to be a non-empty string/],
    ["negative decay", { weightDecay: -1 }, /weightDecay/],
    ["a bound of zero on gradients", { maxGradientNorm: 0 }, /maxGradientNorm to be a number > 0/],
    ["an unknown selector", { parameters: "words" }, /parameters/],
    ["half a batch", { batchSize: 0.5 }, /batchSize/],
    ["an option of ESD", { negativeGuidance: 1 }, /"negativeGuidance" in the options of "ca"/],
  ])("refuses %s, naming the option", async (_, options, message) => {
    await expect(run(options)).rejects.toMatchObject({
      name: "KpopError",
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });
});
