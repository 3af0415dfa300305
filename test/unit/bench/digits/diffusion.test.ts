import { Random, Tensor } from "../../../../lib/index";
import type { DigitClassifier } from "../../../../bench/digits/classifier";
import { noised, generate } from "../../../../bench/digits/diffusion";
import { drawnPlainly, drawOthers, look } from "../../../../bench/digits/measure";
import type { DigitModel } from "../../../../bench/digits/model";

/** ᾱ_t of the cosine schedule, where no β is capped: cos² at t + 1 over cos² at 0 (arXiv 2102.09672, eq. 17). */
function alphaBar(timestep: number): number {
  const level = (t: number): number => Math.cos(((t / 1000 + 0.008) / 1.008) * (Math.PI / 2)) ** 2;
  return level(timestep + 1) / level(0);
}

/** The perfect denoiser of a world where an embedding's first element is the grey of its whole picture. */
const perfect = {
  async predict(noisy: Tensor, timestep: number, embeddings: Tensor): Promise<Tensor> {
    const alpha = alphaBar(timestep);
    const grey = embeddings.slice(1, 0, 1).reshape([embeddings.shape[0]!, 1, 1, 1]);
    return noisy.sub(grey.mul(Math.sqrt(alpha))).div(Math.sqrt(1 - alpha));
  },
} as unknown as DigitModel;

const read = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);

describe("the digits' diffusion", () => {
  it("mixes picture and noise by the cosine schedule, at a level for each picture", async () => {
    const clean = Tensor.from([0.5, -1, 1, 0.25], [4, 1, 1, 1]);
    const { pictures, noise, timesteps } = noised(clean, new Random(3));
    const [x, z, n] = await Promise.all([clean, pictures, noise].map(read));
    expect(new Set(timesteps).size).toBe(4);
    timesteps.forEach((timestep, item) => {
      const alpha = alphaBar(timestep);
      expect(z![item]).toBeCloseTo(Math.sqrt(alpha) * x![item]! + Math.sqrt(1 - alpha) * n![item]!, 5);
    });
  });

  it("ends at the pictures that a perfect denoiser means", async () => {
    const drawn = await read(await generate(perfect, Tensor.from([0.3, 0, -0.9, 5], [2, 2]), new Random(0)));
    drawn.forEach((value, pixel) => expect(value).toBeCloseTo(pixel < 64 ? 0.3 : -0.9, 4));
  });

  it("keeps pictures within what pixels can be", async () => {
    const drawn = await read(await generate(perfect, Tensor.from([1.5], [1, 1]), new Random(0)));
    for (const value of drawn) expect(value).toBeCloseTo(1, 4);
  });

  const classifier = {
    classify: async (pictures: Tensor) =>
      (await read(pictures.mean([1, 2, 3]))).map((grey) => Math.round(10 * grey)),
  } as unknown as DigitClassifier;

  it("lists what is seen, embedding by embedding", async () => {
    const seen = await look(perfect, classifier, Tensor.from([0.2, 0.7, 0.4], [3, 1]), 2, new Random(0));
    expect(seen).toEqual([
      [2, 2],
      [7, 7],
      [4, 4],
    ]);
  });

  it("counts what is kept of the other digits, and what of them is taken for the erased one", async () => {
    // Everything comes out right save for 5 and 7, which come out as 3.
    const embed = (digits: number[]): Tensor =>
      Tensor.from(
        digits.map((digit) => (digit === 5 || digit === 7 ? 0.3 : digit / 10)),
        [digits.length, 1],
      );
    const model = { ...perfect, embed } as unknown as DigitModel;
    const random = new Random(0);
    expect(await drawOthers(model, classifier, 3, 4, random)).toEqual({
      kept: { images: 36, hits: 28 },
      mistaken: { images: 36, hits: 8 },
    });
    expect(await drawnPlainly(model, classifier, 3, 6, random)).toEqual({ images: 6, hits: 6 });
    expect(await drawnPlainly(model, classifier, 5, 6, random)).toEqual({ images: 6, hits: 0 });
  });
});
