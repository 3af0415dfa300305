import {
  BandProjection,
  checkBands,
  DIVERSE_BANDS,
  type CosineBand,
} from "../../../lib/inversion/cosine-band";
import { Random } from "../../../lib/runtime/random";
import { Tensor } from "../../../lib/runtime/tensor";

const WIDTH = 16;
const centre = (): Tensor => new Random(1).normal([WIDTH]).mul(0.4);
const dot = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, x, i) => sum + x * b[i]!, 0);
const norm = (a: readonly number[]): number => Math.sqrt(dot(a, a));
const cosine = (a: readonly number[], b: readonly number[]): number => dot(a, b) / norm(a) / norm(b);

/** The last dimension's vectors. */
async function vectors(tensor: Tensor): Promise<number[][]> {
  const data = Array.from(await tensor.data(), Number);
  return Array.from({ length: data.length / WIDTH }, (_, i) => data.slice(i * WIDTH, (i + 1) * WIDTH));
}

const projection = (bands: readonly CosineBand[], count = 1): Promise<BandProjection> =>
  BandProjection.create(centre(), bands, count, new Random(2));

describe("the projection onto cosine bands", () => {
  it("puts every vector of float32 into its band within 1e-5, and keeps its length", async () => {
    const before = new Random(3).normal([DIVERSE_BANDS.length, 2, WIDTH]);
    const after = (await projection(DIVERSE_BANDS, 2)).project(before).to("float32");
    const [c] = (await vectors(centre())) as [number[]];
    const given = await vectors(before);
    (await vectors(after)).forEach((vector, i) => {
      const [from, to] = DIVERSE_BANDS[Math.floor(i / 2)]!;
      expect(cosine(vector, c)).toBeGreaterThan(from - 1e-5);
      expect(cosine(vector, c)).toBeLessThan(to + 1e-5);
      expect(norm(vector) / norm(given[i]!)).toBeCloseTo(1, 5);
    });
  });

  it("goes to the nearest point: the near bound, in the plane of vector and centre", async () => {
    const before = new Random(4).normal([1, 1, WIDTH]);
    const after = (await projection([[0.6, 0.8]])).project(before);
    const [[v], [w], [c]] = (await Promise.all([before, after, centre()].map(vectors))) as [
      [number[]],
      [number[]],
      [number[]],
    ];
    expect(cosine(v, c)).toBeLessThan(0.6);
    expect(cosine(w, c)).toBeCloseTo(0.6, 9);
    // The angle between the two is the difference of their angles with the centre only within that plane.
    expect(Math.acos(cosine(v, w))).toBeCloseTo(Math.acos(cosine(v, c)) - Math.acos(0.6), 6);
  });

  it("leaves a vector within its band where it is", async () => {
    const before = new Random(5).normal([1, 1, WIDTH]);
    const [v, w] = (
      await Promise.all([before, (await projection([[-1, 1]])).project(before)].map(vectors))
    ).map(([first]) => first!);
    w!.forEach((x, i) => expect(x).toBeCloseTo(v![i]!, 7));
  });

  it("turns a vector along the centre too, in a direction of the seed's", async () => {
    const after = (await projection([[0, 0.5]])).project(centre().reshape([1, 1, WIDTH]));
    const [[w], [c]] = (await Promise.all([after, centre()].map(vectors))) as [[number[]], [number[]]];
    expect(cosine(w, c)).toBeCloseTo(0.5, 9);
  });

  it("starts in the middle of each band, as long as asked, every member elsewhere", async () => {
    const bands: CosineBand[] = [
      [0.2, 0.4],
      [0.2, 0.4],
      [-1, -0.8],
    ];
    const start = await vectors((await projection(bands)).start(Tensor.from([3], [])));
    const [c] = (await vectors(centre())) as [number[]];
    [0.3, 0.3, -0.9].forEach((middle, i) => {
      expect(cosine(start[i]!, c)).toBeCloseTo(middle, 9);
      expect(norm(start[i]!)).toBeCloseTo(3, 9);
    });
    expect(cosine(start[0]!, start[1]!)).toBeLessThan(0.9);
  });

  it("refuses a centre of length zero", async () => {
    const none = BandProjection.create(Tensor.zeros([WIDTH]), [[0, 1]], 1, new Random(0));
    await expect(none).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it.each<[string, unknown, RegExp]>([
    ["bounds the wrong way round", [[0.5, 0.2]], /no vector has a cosine in \[0.5, 0.2\]/],
    ["a bound above 1", [[0.9, 1.1]], /no vector/],
    ["a bound below -1", [[-1.2, 0]], /no vector/],
    ["no bands", [], /bands/],
    ["a band of one bound", [[0.5]], /a band/],
    ["a band that is not a number", [[NaN, 1]], /a band/],
  ])("refuses %s", (_, bands, message) => {
    expect(() => checkBands(bands)).toThrow(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(message) as string,
      }),
    );
  });
});
