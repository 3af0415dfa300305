import { readFileSync } from "node:fs";
import { ClipScorer } from "../../lib/evaluation/clip-scorer";
import { preprocess } from "../../lib/evaluation/preprocess";
import { Image } from "../../lib/io/image";
import { evaluationFixture, noisePicture } from "../support/evaluation";

const reference = JSON.parse(readFileSync(evaluationFixture("clip", "clip.json"), "utf8")) as {
  texts: string[];
  /** Pictures by texts. */
  cosines: number[][];
  probabilities: number[][];
  /** Every fourth value of every fourth row, of each channel. */
  pixels: number[][];
};
const TOLERANCE = 2e-5;

describe("CLIP, against transformers with random weights", () => {
  let clip: ClipScorer;
  let images: Image[];
  beforeAll(async () => {
    clip = await ClipScorer.load(evaluationFixture("clip"));
    images = [await Image.load(evaluationFixture("picture.png")), noisePicture(97, 61)];
  });
  afterAll(() => clip.dispose());

  it("sees pictures as its processor prepares them, within 1e-6", async () => {
    for (const [i, image] of images.entries()) {
      const pixels = preprocess([image], clip.preprocessing);
      expect(pixels.shape).toEqual([1, 3, 32, 32]);
      const sampled = await pixels.slice(2, 0, 32, 4).slice(3, 0, 32, 4).contiguous().data();
      const errors = Array.from(sampled, Number).map((value, j) =>
        Math.abs(value - reference.pixels[i]![j]!),
      );
      expect(Math.max(...errors)).toBeLessThan(1e-6);
    }
  });

  it(`gives the cosine of every picture with every text, within ${TOLERANCE}`, async () => {
    for (const [i, image] of images.entries()) {
      const own = reference.texts.map(() => image);
      const scores = await clip.score(own, reference.texts);
      scores.forEach((score, j) => {
        const expected = 100 * Math.max(reference.cosines[i]![j]!, 0);
        expect(Math.abs(score - expected)).toBeLessThan(100 * TOLERANCE);
      });
    }
    // Both sides of the score's lower bound are tried.
    const signs = new Set(reference.cosines.flat().map(Math.sign));
    expect(signs).toEqual(new Set([-1, 1]));
  });

  it("classifies zero-shot with its probabilities", async () => {
    const classifier = clip.zeroShot(reference.texts.slice(0, 3), "{}");
    const rankings = await classifier.classify(images);
    rankings.forEach(({ indices, probabilities }, i) => {
      const own = reference.probabilities[i]!.slice(0, 3);
      const sum = own.reduce((a, b) => a + b);
      const expected = own.map((p) => p / sum);
      expect(indices).toEqual([0, 1, 2].sort((a, b) => expected[b]! - expected[a]!));
      indices.forEach((index, place) => expect(probabilities[place]).toBeCloseTo(expected[index]!, 4));
    });
    classifier.dispose();
  });
});
