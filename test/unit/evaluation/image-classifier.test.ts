import { rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ImageClassifier } from "../../../lib/evaluation/image-classifier";
import { IMAGENET_COLOURS, preprocess } from "../../../lib/evaluation/preprocess";
import * as safetensors from "../../../lib/io/safetensors";
import { ResNet } from "../../../lib/models/resnet";
import { Tensor } from "../../../lib/runtime/tensor";
import { noisePicture } from "../../support/evaluation";
import { temporaryDirectory } from "../../support/temporary-directory";
import { saveClassifier, saveResNet } from "../../support/tiny-classifier";

const CLASSES = ["Church", "dog", "owl"];
const images = [16, 20, 24].map((side) => noisePicture(side, side));
const same = [noisePicture(32, 32), noisePicture(32, 32)];

describe("an image classifier from a folder", () => {
  let folder: string;
  beforeAll(async () => {
    folder = temporaryDirectory();
    await saveClassifier(folder, CLASSES);
  });

  it("ranks classes by the network's softmax, in batches of any size", async () => {
    using classifier = await ImageClassifier.load(folder);
    const network = new ResNet({ depth: 18, width: 4, stem: "small", num_classes: 3 });
    await network.assign(await safetensors.load(join(folder, "model.safetensors")));
    const pixels = preprocess(same, classifier.preprocessing);
    const expected = Array.from(await (await network.forward(pixels)).softmax().data(), Number);
    const seen: [number, number][] = [];
    const rankings = await classifier.classify(same, { batchSize: 1, onProgress: (...p) => seen.push(p) });
    expect(seen).toEqual([
      [1, 2],
      [2, 2],
    ]);
    rankings.forEach(({ indices, probabilities }, i) => {
      const own = expected.slice(3 * i, 3 * i + 3);
      expect([...indices].sort()).toEqual([0, 1, 2]);
      expect(probabilities).toEqual([...probabilities].sort((a, b) => b - a));
      indices.forEach((index, place) => expect(probabilities[place]).toBeCloseTo(own[index]!, 5));
      expect(probabilities.reduce((a, b) => a + b)).toBeCloseTo(1, 5);
    });
    network.dispose();
  });

  it("finds classes whatever their case, and lists them where one is not there", async () => {
    using classifier = await ImageClassifier.load(folder);
    expect([classifier.outputs, classifier.indexOf("church"), classifier.indexOf("OWL")]).toEqual([3, 0, 2]);
    expect(() => classifier.indexOf("cat")).toThrow(/knows no class "cat"; it knows church, dog, owl$/);
  });

  it("has the preprocessing of its config.json, or another where that is asked for", async () => {
    using classifier = await ImageClassifier.load(folder);
    const own = { resize: null, crop: null, interpolation: "bilinear", mean: [0.5, 0.5, 0.5] };
    expect(classifier.preprocessing).toMatchObject(own);
    await expect(classifier.classify(images)).rejects.toThrow(/pictures of one size/);
    using other = await ImageClassifier.load(folder, { preprocessing: { resize: 16, crop: 16 } });
    expect(await other.classify(images)).toHaveLength(3);
  });

  it("refuses pictures that are none, and classes beside those of its config.json", async () => {
    using classifier = await ImageClassifier.load(folder);
    await expect(classifier.classify(["x" as never])).rejects.toThrow(/images to be a list of pictures/);
    await expect(classifier.classify(same, { batchSize: 0 })).rejects.toThrow(/batchSize/);
    await expect(classifier.classify(same, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: "ABORTED",
    });
    await expect(ImageClassifier.load(folder, { classes: CLASSES })).rejects.toThrow(
      /classes to be left out/,
    );
  });

  it.each<[string, (path: string) => void, string, RegExp]>([
    ["no config", (path) => rmSync(join(path, "config.json")), "NOT_FOUND", /config\.json/],
    ["no weights", (path) => rmSync(join(path, "model.safetensors")), "NOT_FOUND", /model\.safetensors/],
    [
      "half of the weights",
      (path) => truncateSync(join(path, "model.safetensors"), 5000),
      "INVALID_SAFETENSORS",
      /./,
    ],
    ["another depth", (path) => change(path, { depth: 34 }), "INVALID_CHECKPOINT", /\d+ tensors missing/],
    [
      "another width",
      (path) => change(path, { width: 8 }),
      "INVALID_CHECKPOINT",
      /wrongly shaped: conv1\.weight/,
    ],
    [
      "a class too many",
      (path) => change(path, { classes: [...CLASSES, "x"] }),
      "INVALID_CHECKPOINT",
      /fc\.weight/,
    ],
    [
      "no classes",
      (path) => change(path, { classes: [] }),
      "INVALID_CHECKPOINT",
      /"classes" in .* non-empty/,
    ],
    [
      "a class twice",
      (path) => change(path, { classes: ["a", "b", "A"] }),
      "INVALID_ARGUMENT",
      /repetitions/,
    ],
    ["an unknown field", (path) => change(path, { dropout: 0.5 }), "UNSUPPORTED_MODEL", /"dropout"/],
    ["a depth that there is not", (path) => change(path, { depth: 20 }), "UNSUPPORTED_MODEL", /depth/],
  ])("refuses a folder with %s", async (_, spoil, code, message) => {
    const path = temporaryDirectory();
    await saveClassifier(path, CLASSES);
    spoil(path);
    await expect(ImageClassifier.load(path)).rejects.toMatchObject({
      name: "KpopError",
      code,
      message: expect.stringMatching(message),
    });
  });
});

function change(folder: string, fields: object): void {
  const base = { depth: 18, width: 4, stem: "small", classes: CLASSES };
  writeFileSync(join(folder, "config.json"), JSON.stringify({ ...base, ...fields }));
}

describe("an image classifier from a bare file", () => {
  const bare = async (config: Record<string, unknown>): Promise<string> => {
    const path = join(temporaryDirectory(), "resnet.safetensors");
    await saveResNet(path, { width: 4, ...config });
    return path;
  };

  it.each([18, 34, 50, 101, 152])("is told from its shapes, depth %i", async (depth) => {
    const path = await bare({ depth, num_classes: 2, ...(depth === 34 ? { stem: "small" } : {}) });
    using classifier = await ImageClassifier.load(path, { classes: ["church", "dog"] });
    const [ranking] = await classifier.classify([noisePicture(40, 48)]);
    expect(ranking!.indices).toHaveLength(2);
    expect(classifier.preprocessing).toEqual({
      resize: depth < 50 ? 256 : 232,
      crop: 224,
      interpolation: "bilinear",
      ...IMAGENET_COLOURS,
    });
  });

  it("of a thousand classes is ImageNet's, with Imagenette's ten known by name", async () => {
    using classifier = await ImageClassifier.load(await bare({ num_classes: 1000 }));
    const names = ["Tench", "English springer", "cassette player", "chain saw", "church", "French horn"];
    const more = ["garbage truck", "gas pump", "golf ball", "parachute"];
    expect([...names, ...more].map((name) => classifier.indexOf(name))).toEqual([
      0, 217, 482, 491, 497, 566, 569, 571, 574, 701,
    ]);
  });

  it("takes names from a list, from some names with their outputs, or from a JSON file beside", async () => {
    const path = await bare({ num_classes: 3 });
    await expect(ImageClassifier.load(path)).rejects.toThrow(/has 3 classes and no names.*resnet\.json/);
    using some = await ImageClassifier.load(path, { classes: { dog: 2 } });
    expect([some.outputs, some.indexOf("dog")]).toEqual([3, 2]);
    writeFileSync(path.replace(".safetensors", ".json"), JSON.stringify(["a", "b", "c"]));
    using beside = await ImageClassifier.load(path);
    expect(beside.indexOf("b")).toBe(1);
    for (const [classes, message] of [
      [["a", "b"], /list of 3 names/],
      [{ a: 3 }, /classes\.a to be an integer from 0 to 2/],
      [{}, /non-empty list/],
      ["abc", /list of names/],
      [["a", "A", "b"], /repetitions/],
    ] as [never, RegExp][])
      await expect(ImageClassifier.load(path, { classes })).rejects.toThrow(message);
    writeFileSync(path.replace(".safetensors", ".json"), "[");
    await expect(ImageClassifier.load(path)).rejects.toThrow(/resnet\.json is not JSON/);
  });

  it("refuses weights of another architecture", async () => {
    const path = join(temporaryDirectory(), "other.safetensors");
    await safetensors.save(path, {
      "conv1.weight": Tensor.zeros([4, 3, 7, 7]),
      "fc.weight": Tensor.zeros([2, 4]),
    });
    await expect(ImageClassifier.load(path)).rejects.toMatchObject({
      code: "INVALID_CHECKPOINT",
      message: expect.stringMatching(/no ResNet of depth 18, 34, 50/),
    });
  });

  it("that is not there is not found", async () => {
    await expect(ImageClassifier.load("no-such-file.safetensors")).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
  });
});
