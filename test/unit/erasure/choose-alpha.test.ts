import { hashUNet } from "../../../lib/diffusion/model-hash";
import { chooseAlpha, type AlphaChoice, type AlphaSearchSetting } from "../../../lib/erasure/choose-alpha";
import { erase } from "../../../lib/erasure/erase";
import { TaskVector } from "../../../lib/erasure/task-vector";
import { Random } from "../../../lib/runtime/random";
import { EvaluationCounter } from "../../../lib/training/evaluations";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { weightHashes } from "../../support/hashes";
import { discPicture } from "../../support/pictures";

describe("chooseAlpha", () => {
  let golden: GoldenModel;
  let tau: TaskVector;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
    const names = golden.model.unet.parameterNames().filter((name) => name.includes("attn2"));
    tau = new TaskVector({
      parameters: new Map(
        names.map((name) => [
          name,
          new Random(1).at(name).normal(golden.model.unet.parameter(name).shape).mul(0.05),
        ]),
      ),
      base: await hashUNet(golden.model),
      concepts: ["church"],
    });
  });
  afterAll(() => golden.dispose());

  const setting = (scores: readonly number[], more: Partial<AlphaSearchSetting> = {}): AlphaSearchSetting => {
    const left = [...scores];
    return {
      // One score for each prompt or embedding asked for, the last one ever after.
      score: (images) => {
        const score = left.length > 1 ? left.shift()! : left[0]!;
        return images.map(() => score);
      },
      threshold: 0.5,
      alphas: [0.5, 1, 2],
      pictures: 1,
      steps: 1,
      images: [discPicture(golden.model.imageSize, golden.model.imageSize)],
      inversion: { bands: [[0, 0.5]], iterations: 1, batchSize: 1 },
      ...more,
    };
  };
  const choose = (scores: readonly number[], more: Partial<AlphaSearchSetting> = {}): Promise<AlphaChoice> =>
    chooseAlpha(golden.model, tau, setting(scores, more));

  it("takes the smallest α under which neither the name nor an inversion brings the concept back", async () => {
    const before = await weightHashes(golden.model.unet);
    // 0.5: the name does; 1: the name does not, the inversion does; 2: neither.
    const { alpha, parameters, trials } = await choose([0.9, 0.2, 0.51, 0.5, 0.1]);
    expect(alpha).toBe(2);
    expect(parameters).toEqual([...tau.parameters.keys()]);
    expect(trials.map(({ scores }) => scores)).toEqual([
      { church: 0.9 },
      { church: 0.2, "<inverted-1>": 0.51 },
      { church: 0.5, "<inverted-1>": 0.1 },
    ]);
    expect(trials.map(({ erased }) => erased)).toEqual([false, false, true]);
    expect(await weightHashes(golden.model.unet)).toEqual(before);
  });

  it("ends with a word on what to do when the largest α does not erase", async () => {
    const tried: number[] = [];
    const none = choose([0.9], { onTrial: ({ alpha }) => tried.push(alpha) });
    await expect(none).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("Expected some alpha up to 2") as string,
    });
    expect(tried).toEqual([0.5, 1, 2]);
  });

  it("keeps of the parts that erase the one that moves retained prompts least", async () => {
    const { parameters, trials } = await choose([0], {
      subsets: ["xattn-kv", /attn2\.to_k/],
      retain: ["a dog"],
    });
    expect(trials.map(({ parameters: of }) => of)).toEqual(["all", "xattn-kv", String(/attn2\.to_k/)]);
    const least = Math.min(...trials.map(({ drift }) => drift!));
    const best = trials.findIndex(({ drift }) => drift === least);
    const patterns = [/attn2/, /attn2\.to_[kv]/, /attn2\.to_k/];
    expect(parameters).toEqual([...tau.parameters.keys()].filter((name) => patterns[best]!.test(name)));
    expect(least).toBeLessThan(trials[0]!.drift!);
  });

  it("leaves out a part that does not erase", async () => {
    const { parameters, trials } = await choose([0, 0, 1], { subsets: ["xattn-kv"] });
    expect(trials.map(({ erased }) => erased)).toEqual([true, false, false, false]);
    expect(parameters).toEqual([...tau.parameters.keys()]);
  });

  it("counts the UNet's evaluations", async () => {
    const { unetEvaluations } = await choose([0], { alphas: [1] });
    // PNDM may take a step more than it is asked for; 2 pictures, guided; 1 of training; drift of 16 pictures in 2 models.
    const steps = (unetEvaluations - 1 - 32) / 4;
    expect([1, 2]).toContain(steps);
  });

  it("stops on a signal", async () => {
    const controller = new AbortController();
    const stopped = choose([0.9], { signal: controller.signal, onTrial: () => controller.abort() });
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
  });

  it("serves erase(), which then takes off what was chosen", async () => {
    const { images, ...search } = setting([0.9, 0]);
    const erasure = await erase(golden.model, {
      method: "task-vector",
      concepts: "church",
      pictures: { church: images },
      iterations: 1,
      batchSize: 1,
      learningRate: 1e-3,
      alpha: search,
    });
    const expected = await erasure.taskVectors[0]!.apply(golden.model, { alpha: 1 });
    expect(await weightHashes(erasure.model.unet)).toEqual(await weightHashes(expected.unet));
    expected.dispose();
    erasure.dispose();
  });

  it.each<[string, object, RegExp]>([
    ["no updates of an inversion", { inversion: { iterations: 0 } }, /alpha.inversion.iterations to be an integer >= 1/],
    ["a band that is none of cosines", { inversion: { bands: [[2, 3]] } }, /band|cosine/],
    ["an unknown option of inversions", { inversion: { token: "<x>" } }, /"token" in alpha.inversion/],
    ["more vectors than a prompt has tokens", { inversion: { vectors: 500 } }, /alpha.inversion.vectors to be an integer from 1 to 75/],
    ["captions without a place", { inversion: { templates: ["a photo"] } }, /template.*\{\}/],
    ["captions without room", { inversion: { vectors: 75, templates: ["a {}"] } }, /shorten it/],
    ["a prompt without room", { prompt: `${"very ".repeat(90)}{}` }, /shorten it/],
    ["inversions that are a number", { inversion: 5 }, /alpha.inversion to be an object but received 5/],
    ["a listener that is no function", { onTrial: 5 }, /alpha.onTrial to be a function but received 5/],
    ["parts that are no list", { subsets: 5 }, /alpha.subsets to be a list/],
  ])("refuses %s before anything is trained", async (_, more, message) => {
    const { images, ...search } = setting([0]);
    const counter = new EvaluationCounter();
    const run = counter.run(() =>
      erase(golden.model, {
        method: "task-vector",
        ...{ concepts: "church", pictures: { church: images }, iterations: 1, batchSize: 1 },
        alpha: { ...search, ...more },
      }),
    );
    await expect(run).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
    expect(counter.total).toBe(0);
  }); // prettier-ignore

  it.each<[string, object, RegExp]>([
    ["no score", { score: undefined }, /alpha.score/],
    ["a threshold that is no number", { threshold: NaN }, /alpha.threshold/],
    ["no candidates", { alphas: [] }, /alpha.alphas/],
    ["candidates out of order", { alphas: [2, 1] }, /alpha.alphas\[1\]/],
    ["a part that selects nothing", { subsets: ["selfattn"] }, /selects none/],
    ["a prompt without a place", { prompt: "a" }, /template/],
    ["no pictures to learn from", { images: [] }, /images/],
    ["a band that contains no point", { inversion: { bands: [[0.9, 0.1]] } }, /no vector/],
    ["scores that are too few", { score: () => [] }, /what score gives/],
    ["an unknown option", { alpha: 1 }, /"alpha"/],
  ])("refuses %s", async (_, more, message) => {
    await expect(choose([0], more)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });
});
