import { checkLearnedTokens, splicePrompt, type LearnedToken } from "../../../lib/diffusion/learned-tokens";
import { Tensor } from "../../../lib/runtime/tensor";
import { relativeError } from "../../support/compare";
import { loadGolden, type GoldenModel } from "../../support/golden-model";

/** Of the golden text encoder. */
const WIDTH = 32;

describe("learned tokens", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());

  const learned = (token: string, count = 1): LearnedToken => ({
    token,
    embeddings: Tensor.zeros([count, WIDTH]),
  });
  const places = (prompt: string, tokens: LearnedToken[]): number[][] =>
    splicePrompt(golden.model.tokenizer, prompt, tokens).places.map(({ position, vector }) => [
      position,
      vector,
    ]);

  it("leaves a prompt that names none as the tokenizer has it", () => {
    const { tokenizer } = golden.model;
    for (const prompt of ["a photo", "", "x ".repeat(200)])
      expect(splicePrompt(tokenizer, prompt, [learned("<a>")])).toEqual({
        ids: tokenizer.encode(prompt)[0],
        places: [],
      });
  });

  it("counts vectors through all tokens, wherever they stand", () => {
    expect(places("<b> of <a><b>", [learned("<a>", 2), learned("<b>")])).toEqual([
      [1, 2],
      [3, 0],
      [4, 1],
      [5, 2],
    ]);
  });

  it("takes the longest of names that begin alike, and signs of patterns as they are", () => {
    expect(places("<a.*>1", [learned("<a"), learned("<a.*>1", 1)])).toEqual([[1, 1]]);
    expect(places("<axx>1", [learned("<a.*>1")])).toEqual([]);
  });

  it("keeps the end token when a long prompt is cut behind a learned token, and refuses to cut one", () => {
    const { tokenizer } = golden.model;
    const { ids } = splicePrompt(tokenizer, `<a> ${"x ".repeat(200)}`, [learned("<a>")]);
    expect(ids).toHaveLength(77);
    expect(ids[76]).toBe(tokenizer.eosTokenId);
    // 74 tokens before it leave a place each for the start, for it and for the end.
    expect(places(`${"x ".repeat(74)}<a>`, [learned("<a>")])).toEqual([[75, 0]]);
    for (const [before, count] of [
      [75, 1],
      [74, 2],
    ] as const)
      expect(() => places(`${"x ".repeat(before)}<a>`, [learned("<a>", count)])).toThrow(
        expect.objectContaining({
          code: "INVALID_ARGUMENT",
          message: expect.stringContaining("shorten it") as string,
        }),
      );
  });

  it("gives a word's own states for its own embeddings", async () => {
    const { model } = golden;
    const ids = Tensor.from(model.tokenizer.encode("church")[0]!.slice(1, 2), [1, 1], { dtype: "int64" });
    const embeddings = (await model.textEncoder.embedTokens(ids)).squeeze(0);
    const spliced = await model.encode(["a <x>, seen", "a photo"], {
      tokens: [{ token: "<x>", embeddings }],
    });
    expect(await relativeError(spliced, await model.encode(["a church, seen", "a photo"]))).toBeLessThan(
      1e-6,
    );
  });

  it("makes the pictures of a word for its own embeddings, and others for other ones", async () => {
    const { model } = golden;
    const options = { steps: 2, seed: 3 };
    const ids = Tensor.from(model.tokenizer.encode("church")[0]!.slice(1, 2), [1, 1], { dtype: "int64" });
    const embeddings = (await model.textEncoder.embedTokens(ids)).squeeze(0);
    const [word] = await model.generate("a church", options);
    const [same] = await model.generate("a <x>", { ...options, tokens: [{ token: "<x>", embeddings }] });
    const [other] = await model.generate("a <x>", {
      ...options,
      tokens: [{ token: "<x>", embeddings: embeddings.mul(-5) }],
    });
    expect(same!.data).toEqual(word!.data);
    expect(other!.data).not.toEqual(word!.data);
  });

  it.each<[string, unknown, RegExp]>([
    ["what is no list", learned("<a>"), /tokens/],
    ["two of one name", [learned("<a>"), learned("<a>")], /one name each/],
    ["a word of the vocabulary", [learned("church")], /"church" is in the vocabulary already/],
    ["the end token", [learned("<|endoftext|>")], /in the vocabulary already/],
    ["a blank name", [learned(" ")], /token/],
    ["embeddings that are no tensor", [{ token: "<a>", embeddings: [1] }], /embeddings of <a>/],
    ["embeddings of another width", [{ token: "<a>", embeddings: Tensor.zeros([1, 5]) }], /\(n, 32\)/],
    ["no embeddings", [{ token: "<a>", embeddings: Tensor.zeros([0, 32]) }], /\(n, 32\)/],
  ])("refuses %s", (_, tokens, message) => {
    expect(() => checkLearnedTokens(golden.model, tokens)).toThrow(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(message) as string,
      }),
    );
  });
});
