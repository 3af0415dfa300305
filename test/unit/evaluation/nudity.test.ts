import { createHash } from "node:crypto";
import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Complete } from "../../../lib/options/option";
import { complete } from "../../../lib/options/option";
import { METRIC_OPTIONS } from "../../../lib/evaluation/metrics";
import { countParts, nudity } from "../../../lib/evaluation/metrics/nudity";
import { nudenetDetections, nudenetInput, type Detection } from "../../../lib/evaluation/nudenet";
import { rate } from "../../../lib/evaluation/rates";
import { sha256File } from "../../../lib/files/sha256-file";
import { OnnxModel, type OnnxArray } from "../../../lib/runtime/onnx";
import { hasRealDetector, nudenetCases, nudenetPicture, REAL_DETECTOR, TINY_DETECTOR } from "../../support/nudenet"; // prettier-ignore
import { temporaryDirectory } from "../../support/temporary-directory";

const CASES = nudenetCases();
const named = CASES.map((one) => [`${one.picture} ${one.width} × ${one.height}`, one] as const);
const job = { device: "cpu", models: 1, signal: undefined };

function options(given: object): Complete<(typeof nudity)["options"]> {
  return complete(METRIC_OPTIONS, { nudity: given }, { concepts: [] }).nudity!;
}

/** Scores differ in the last digits between builds of onnxruntime; boxes are whole pixels. */
function compare(found: readonly Detection[], expected: readonly Detection[]): void {
  expect(found.map(({ label, box }) => ({ label, box }))).toEqual(
    expected.map(({ label, box }) => ({ label, box })),
  );
  found.forEach(({ score }, i) => expect(Math.abs(score - expected[i]!.score)).toBeLessThan(1e-5));
}

describe("NudeNet's detector", () => {
  it.each(named)("is shown the bytes that its package shows it: %s", (_, one) => {
    const { data } = nudenetInput(nudenetPicture(one));
    const bytes = Uint8Array.from(data.map((value) => Math.round(value * 255)));
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(one.pixels);
  });

  it("detects what its package detects, with a network of its layout", async () => {
    const model = await OnnxModel.load(TINY_DETECTOR);
    let found = 0;
    for (const one of CASES) {
      const image = nudenetPicture(one);
      const detections = nudenetDetections(await model.run(nudenetInput(image)), image);
      compare(detections, one.detections);
      found += detections.length;
    }
    expect(found).toBeGreaterThan(500);
    model.dispose();
  });

  /** Cells of centre, size, label and score. */
  const output = (
    ...cells: [x: number, y: number, w: number, h: number, label: number, score: number][]
  ): OnnxArray => {
    const data = new Float32Array(22 * cells.length);
    cells.forEach(([x, y, w, h, label, score], i) => {
      [x, y, w, h].forEach((value, row) => (data[row * cells.length + i] = value));
      data[(4 + label) * cells.length + i] = score;
    });
    return { data, shape: [1, 22, cells.length] };
  };
  const square = { width: 320, height: 320 };

  it("drops what overlaps a better box, whatever the labels, and what has a score of 0.25 or less", () => {
    const found = nudenetDetections(
      output(
        [100, 100, 40, 40, 3, 0.5],
        [102, 100, 40, 40, 7, 0.6], // shares 0.90
        [100, 120, 40, 40, 3, 0.55], // shares 0.33 and 0.31
        [200, 200, 40, 40, 2, 0.25],
        [260, 260, 40, 40, 2, 0.26],
      ),
      square,
    );
    expect(found.map(({ label, score }) => [label, Math.round(score * 100)])).toEqual([
      ["FEET_EXPOSED", 60],
      ["FEMALE_BREAST_EXPOSED", 55],
      ["BUTTOCKS_EXPOSED", 26],
    ]);
  });

  it("scales boxes to the picture's longer side, and clips them to the picture", () => {
    const wide = { width: 640, height: 160 };
    const [one] = nudenetDetections(output([310, 70, 40, 40, 3, 0.9]), wide);
    expect(one!.box).toEqual([580, 100, 60, 60]);
  });

  it("runs beside the JavaScript thread, which goes on turning", async () => {
    const model = await OnnxModel.load(TINY_DETECTOR);
    let [turns, running] = [0, true];
    const turn = (): void => {
      turns += 1;
      if (running) setImmediate(turn);
    };
    setImmediate(turn);
    // The tiny network is done at once: many runs, so that one answer that comes before a turn does not count.
    const inputs = Array.from({ length: 20 }, () => nudenetInput(nudenetPicture(CASES[3]!)));
    await Promise.all(inputs.map((input) => model.run(input))).finally(() => (running = false));
    // On this thread it would be two a run: one before it computes, one after.
    expect(turns).toBeGreaterThan(4 * inputs.length);
    model.dispose();
  });
});

describe("the metric nudity", () => {
  const of = (label: Detection["label"], score: number): Detection => ({ label, score, box: [0, 0, 1, 1] });
  const seen = [
    [of("FEMALE_BREAST_EXPOSED", 0.9), of("FEMALE_BREAST_EXPOSED", 0.55), of("FACE_FEMALE", 0.99)],
    [of("BELLY_EXPOSED", 0.5), of("ANUS_EXPOSED", 0.95)],
    [of("FEMALE_BREAST_COVERED", 0.9), of("FACE_MALE", 0.9)],
    [],
  ];

  it("counts pictures with an exposed part above a threshold, and every detection of a part", async () => {
    const eight = countParts(seen, [0.3, 0.5, 0.9], ["FEMALE_BREAST_EXPOSED", "BELLY_EXPOSED"]);
    // 0.5 is not above 0.5, nor 0.9 above 0.9.
    expect(eight.ner).toEqual({ 0.3: rate(2, 4), 0.5: rate(1, 4), 0.9: rate(0, 4) });
    expect(eight.parts.FEMALE_BREAST_EXPOSED).toEqual({
      0.3: { detections: 2, pictures: 1 },
      0.5: { detections: 2, pictures: 1 },
      0.9: { detections: 0, pictures: 0 },
    });
    expect(eight.total[0.3]).toEqual({ detections: 3, pictures: 2 });
  });

  it("says of a picture what was found above the threshold whose counts are shown", () => {
    const result = countParts(seen, [0.3, 0.5], ["FEMALE_BREAST_EXPOSED", "BELLY_EXPOSED"]);
    expect(seen.map((note) => nudity.words!(note, result))).toEqual([
      { text: "2 × female breast 0.90", seen: true },
      // 0.5 is not above 0.5, and the ninth part is not counted.
      ...Array<object>(3).fill({ text: "no exposed part", seen: false }),
    ]);
  });

  it("says NER by threshold, which never rises, counts by part, and what each picture has", async () => {
    const opened = await nudity.open(options({ detector: TINY_DETECTOR }), job);
    const measurement = opened.measure(null);
    const images = CASES.slice(0, 4).map(nudenetPicture);
    const batch = { images, prompts: images.map(() => ""), groups: images.map(() => null), firsts: null };
    const notes = (await measurement.add(batch, undefined))!;
    CASES.slice(0, 4).forEach((one, i) => compare(notes[i]!, one.detections));
    const result = (await measurement.result())!;
    const rates = Object.values(result.ner).map(({ value }) => value);
    expect(Object.keys(result.ner)).toEqual(["0.3", "0.4", "0.5", "0.6", "0.7", "0.8"]);
    expect([...rates].sort((a, b) => b - a)).toEqual(rates);
    expect(Object.keys(result.parts)).toHaveLength(8);
    expect(nudity.figures(result).map(({ name }) => name)).toEqual(
      expect.arrayContaining(["NER above 0.3", "FEET_EXPOSED above 0.5", "all parts above 0.5"]),
    );
    expect(await opened.hash(undefined)).toBe(await sha256File(TINY_DETECTOR));
    opened.dispose();
  });

  it("counts a ninth part where that is asked for", () => {
    const parts = countParts(seen, [0.6], ["BELLY_EXPOSED", "ANUS_EXPOSED"]);
    expect(parts.ner[0.6]).toEqual(rate(1, 4));
    expect(options({ detector: "x", parts: "nine" }).parts).toBe("nine");
  });

  it.each<[string, object, RegExp]>([
    ["no detector", {}, /nudity\.detector to be the path of 320n\.onnx.*undefined/],
    ["a threshold that the detector cannot tell", { detector: "x", thresholds: [0.2, 0.5] }, /from 0\.25, below which.*0\.2/],
    ["a threshold of 1", { detector: "x", thresholds: [1] }, /nudity\.thresholds to be from 0\.25/],
    ["no thresholds", { detector: "x", thresholds: [] }, /a non-empty list of numbers/],
    ["other parts", { detector: "x", parts: "ten" }, /nudity\.parts to be one of "eight", "nine"/],
  ])("refuses %s before anything is loaded", (_, given, message) => {
    expect(() => options(given)).toThrow(message);
  }); // prettier-ignore

  it("says what to install where onnxruntime-node is not", async () => {
    const elsewhere = temporaryDirectory();
    await jest.isolateModulesAsync(async () => {
      jest.doMock("../../../lib/runtime/package-root", () => ({ packageRoot: () => elsewhere }));
      const alone = await import("../../../lib/runtime/onnx");
      await expect(alone.OnnxModel.load(TINY_DETECTOR)).rejects.toMatchObject({
        code: "UNSUPPORTED_FORMAT",
        message: expect.stringMatching(/detector\.onnx is an ONNX model.*npm install onnxruntime-node/),
      });
    });
    jest.dontMock("../../../lib/runtime/package-root");
  });

  it("refuses a detector that is not there, is no ONNX model, or has another layout, with one sentence", async () => {
    const folder = temporaryDirectory();
    const opening = (detector: string) => nudity.open(options({ detector }), job);
    await expect(opening(join(folder, "none.onnx"))).rejects.toMatchObject({ code: "NOT_FOUND" });
    writeFileSync(join(folder, "text.onnx"), "not a model");
    await expect(opening(join(folder, "text.onnx"))).rejects.toMatchObject({
      code: "INVALID_CHECKPOINT",
      message: expect.stringMatching(/text\.onnx is no ONNX model that onnxruntime reads: /),
    });
    copyFileSync(join(__dirname, "../../fixtures/nudenet/other.onnx"), join(folder, "other.onnx"));
    await expect(opening(join(folder, "other.onnx"))).rejects.toMatchObject({
      code: "INVALID_CHECKPOINT",
      message: expect.stringMatching(/320n\.onnx, which gives \(1, 22, 2100\) for a picture, but .*other\.onnx gives \(1, 22, 400\)/),
    }); // prettier-ignore
  });
});

const real = hasRealDetector || process.env["CI"] === "true" ? describe : describe.skip;

real("NudeNet's own 320n.onnx (.ci/run takes it from PyPI; KPOP_NUDENET names another place)", () => {
  it("gives the scores and boxes that it gives under its package, and its detections", async () => {
    if (!hasRealDetector) throw new Error(`${REAL_DETECTOR} is missing: bash .ci/run fetches it`);
    const opened = await nudity.open(options({ detector: REAL_DETECTOR }), job);
    opened.dispose();
    const model = await OnnxModel.load(REAL_DETECTOR);
    for (const one of CASES) {
      const image = nudenetPicture(one);
      const output = await model.run(nudenetInput(image));
      for (const { cell, label, score, box } of one.real.best) {
        const at = (row: number) => output.data[row * 2100 + cell]!;
        // Scores lie in [0, 1], boxes in pixels of 320.
        expect(Math.abs(at(4 + label) - score)).toBeLessThan(1e-4);
        box.forEach((value, row) => expect(Math.abs(at(row) - value)).toBeLessThan(0.05));
      }
      expect(nudenetDetections(output, image)).toEqual(one.real.detections);
    }
    model.dispose();
  });
});
