import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { attack, type AttackResult } from "../../../lib/attack/attack";
import type { AttackProgress } from "../../../lib/attack/attack-options";
import type { AttackOptions } from "../../../lib/attack/registry";
import { PromptKey } from "../../../lib/diffusion/prompt-key";
import { StableDiffusion } from "../../../lib/diffusion/stable-diffusion";
import { ImageClassifier } from "../../../lib/evaluation/image-classifier";
import { rate } from "../../../lib/evaluation/rates";
import { Inversion } from "../../../lib/inversion/inversion";
import { invert } from "../../../lib/inversion/invert";
import { without } from "../../../lib/files/json-file";
import { Image } from "../../../lib/io/image";
import { EvaluationCounter } from "../../../lib/training/evaluations";
import { BrightnessClassifier, redness } from "../../support/brightness-classifier";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { tensorHash, weightHashes } from "../../support/hashes";
import { discPicture } from "../../support/pictures";
import { temporaryDirectory } from "../../support/temporary-directory";
import { saveClassifier } from "../../support/tiny-classifier";

const drawing = { steps: 2, guidanceScale: 2, sampler: "ddim" as const };

describe("attack", () => {
  let golden: GoldenModel;
  let images: Image[];
  let classifier: BrightnessClassifier;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
    const side = golden.model.imageSize;
    images = [0, 30, 60].map((seed) => discPicture(side, side, seed));
    const some = await golden.model.generate("a photo of a church", { ...drawing, count: 5, seed: 3 });
    // Some of the pictures are above it, and some below.
    classifier = new BrightnessClassifier(some.map(redness).sort((a, b) => a - b)[2]! - 1e-3);
  });
  afterAll(() => golden.dispose());

  const run = (options: object = {}): Promise<AttackResult> =>
    attack(golden.model, {
      concept: "church",
      classifier,
      images,
      imagesPerInput: 5,
      iterations: 2,
      batchSize: 1,
      ...drawing,
      ...options,
    });

  it("refuses a disposed model before it draws anything", async () => {
    const model = await StableDiffusion.load(golden.model.source.path, { device: "cpu" });
    model.dispose();
    const drawn = jest.spyOn(golden.model, "generate");
    const refused = attack(model, { concept: "church", classifier, original: golden.model, ...drawing });
    await expect(refused).rejects.toMatchObject({ code: "DISPOSED" });
    expect(drawn).not.toHaveBeenCalled();
    drawn.mockRestore();
  });

  it("measures the plain name and the inputs found on the seeds behind the pictures', and counts evaluations", async () => {
    const before = await weightHashes(golden.model.unet);
    const result = await run({ iterations: 3, batchSize: 2 });
    const [input] = result.inputs;
    const hits = async (prompt: string, tokens: Inversion[] = []): Promise<number> => {
      const drawn = await golden.model.generate(prompt, { ...drawing, tokens, count: 5, seed: 3 });
      return (await classifier.classify(drawn)).filter(({ indices }) => indices[0] === 1).length;
    };
    expect(result.before).toEqual(rate(await hits("a photo of a church"), 5));
    expect(result.before.hits).toBe(3);
    expect(input!.rate).toEqual(
      rate(await hits("a photo of a <inverted>", [...input!.tokens!] as Inversion[]), 5),
    );
    expect(result.after).toEqual(input!.rate);
    expect(result).toMatchObject({ method: "concept-inversion", concept: "church", unetEvaluations: 6 });
    // DDIM: two steps, two halves of guidance; five pictures of two prompts.
    expect(result.measuringEvaluations).toBe(2 * 2 * 5 * 2);
    expect(result.history).toHaveLength(3);
    expect(await weightHashes(golden.model.unet)).toEqual(before);
    result.dispose();
  });

  it("finds by concept inversion what invert finds", async () => {
    const result = await run({ seed: 5, vectors: 2, initial: "a photo" });
    const alone = await invert(golden.model, {
      ...{ images, iterations: 2, batchSize: 1, seed: 5, vectors: 2, initial: "a photo" },
    });
    expect(await tensorHash(result.inputs[0]!.tokens![0]!.embeddings)).toBe(
      await tensorHash(alone.embeddings),
    );
  });

  it("by Diverse Inversion measures every band, and all together", async () => {
    const bands = [
      [-0.4, -0.2],
      [0.6, 0.8],
    ];
    const { inputs, after } = await run({ method: "diverse-inversion", bands });
    expect(inputs.map(({ name, band }) => [name, band])).toEqual([
      ["<inverted-1>", bands[0]],
      ["<inverted-2>", bands[1]],
    ]);
    expect(after).toEqual(rate(inputs[0]!.rate.hits + inputs[1]!.rate.hits, 10));
  });

  it("draws the pictures with the original model, measures that too, and tells how far it is", async () => {
    const seen: AttackProgress[] = [];
    const result = await run({
      images: undefined,
      original: golden.model,
      pictures: 3,
      cacheDirectory: temporaryDirectory(),
      onProgress: (progress: AttackProgress) => seen.push(progress),
    });
    expect(result.original).toEqual(result.before);
    expect(seen.filter(({ phase }) => phase === "pictures").at(-1)).toMatchObject({ done: 3, total: 3 });
    expect(seen.at(-1)).toEqual({ phase: "measure", done: 15, total: 15, etaSeconds: 0 });
  });

  it("leaves the inputs, their pictures and the result in a folder, as their readers take them", async () => {
    const directory = join(temporaryDirectory(), "a");
    const inverted = await run({ directory, imagesPerInput: 1 });
    const token = await Inversion.load(join(directory, "inverted.safetensors"));
    expect(await tensorHash(token.embeddings)).toBe(
      await tensorHash(inverted.inputs[0]!.tokens![0]!.embeddings),
    );
    const searched = await run({ method: "key-search", looks: 1, directory, imagesPerInput: 1 });
    const key = await PromptKey.load(join(directory, "after-2.safetensors"));
    expect(await tensorHash(key.prompt)).toBe(await tensorHash(searched.inputs[0]!.key!.prompt));
    expect(readdirSync(directory).sort()).toEqual([
      ...["after-2-3.png", "after-2.safetensors", "attack.json", "inverted-3.png"],
      ...["inverted.safetensors", "name-3.png"],
    ]);
    const [again] = await golden.model.generate("a photo of a church", {
      ...{ ...drawing, key, seed: 3 },
    });
    expect((await Image.load(join(directory, "after-2-3.png"))).data).toEqual(again!.data);
    const written = JSON.parse(readFileSync(join(directory, "attack.json"), "utf8")) as AttackResult;
    expect(written).toMatchObject({ method: "key-search", after: searched.after, unetEvaluations: 2 });
  });

  describe("in shards", () => {
    let judge: ImageClassifier;
    let expected: AttackResult;
    let alone: string;
    const many = {
      method: "unlearn-diff",
      images: undefined,
      pictures: 3,
      length: 1,
      timesteps: 1,
      stepsPerTimestep: 1,
    };
    const into = (folder: string) => ({
      directory: folder,
      cacheDirectory: join(folder, "images"),
      checkpoint: { directory: join(folder, "state") },
    });
    const given = (folder: string, options: object = {}) =>
      ({
        ...{ concept: "church", classifier: judge, original: golden.model, ...drawing, imagesPerInput: 2 },
        ...into(folder),
        ...options,
      }) as AttackOptions & { checkpoint: { directory: string } };
    const shard = (index: number, folder: string, options: object = {}) =>
      attack(golden.model, { ...given(folder, options), shard: { index, count: 2 } });
    /** Seconds and places are each process's own. */
    const figures = ({ inputs, history, ...rest }: AttackResult) => ({
      ...without(rest, "seconds", "dispose"),
      history: history.map(({ iteration, iterations, losses }) => ({ iteration, iterations, losses })),
      inputs: inputs.map(({ name, prompt, text, seed, rate: own }) => ({
        name,
        prompt,
        text,
        seed,
        rate: own,
      })),
    });
    const files = (folder: string) =>
      Object.fromEntries(
        readdirSync(folder)
          .filter((name) => /\.(?:png|safetensors)$/.test(name))
          .map((name) => [name, readFileSync(join(folder, name))]),
      );
    beforeAll(async () => {
      const folder = temporaryDirectory();
      await saveClassifier(folder, ["church", "dog"]);
      judge = await ImageClassifier.load(folder);
      alone = temporaryDirectory();
      expected = await attack(golden.model, given(alone, many));
    });
    afterAll(() => {
      expected.dispose();
      judge.dispose();
    });

    it("searches a part of the targets in each, and gives what one process gives", async () => {
      const folder = temporaryDirectory();
      expect(await shard(1, folder, many)).toMatchObject({ shard: { index: 1, count: 2 }, found: 1 });
      // One that is stopped in its second search leaves the first one's input.
      const controller = new AbortController();
      const onStep = ({ iteration }: { iteration: number }) => iteration === 3 && controller.abort();
      await expect(shard(0, folder, { ...many, onStep, signal: controller.signal })).rejects.toMatchObject({
        code: "ABORTED",
      });
      expect(await shard(0, folder, many)).toMatchObject({ found: 2 });
      expect(readdirSync(join(folder, "state"))).toContain("shards.json");
      const drawn: number[] = [];
      const onProgress = ({ phase, done }: AttackProgress) => phase === "measure" && drawn.push(done);
      const spent = new EvaluationCounter();
      const result = await spent.run(() => attack(golden.model, given(folder, { ...many, onProgress })));
      expect(figures(result)).toEqual(figures(expected));
      expect(files(folder)).toEqual(files(alone));
      // What the shards have spent is told again, and none of it spent.
      expect(spent.total).toBe(result.unetEvaluations);
      expect(readdirSync(join(folder, "state"))).not.toContain("shards.json");
      result.dispose();
    });

    it("of an attack with one search does that in the first shard, and measures what has gone again", async () => {
      const one = { images: undefined, pictures: 3, iterations: 2, batchSize: 1 };
      const folder = temporaryDirectory();
      expect(await shard(1, folder, one)).toMatchObject({ found: 0, unetEvaluations: 0 });
      expect(await shard(0, folder, one)).toMatchObject({ found: 1, unetEvaluations: 2 });
      const before = files(folder);
      rmSync(join(folder, "name-3.png"));
      const result = await attack(golden.model, given(folder, one));
      const single = temporaryDirectory();
      const other = await attack(golden.model, given(single, one));
      expect(figures(result)).toEqual(figures(other));
      expect(files(folder)).toEqual(before);
      expect(files(single)).toEqual(before);
      for (const made of [result, other]) made.dispose();
    });

    it("refuses shards of other options before anything is drawn, and shards that have no state", async () => {
      const folder = temporaryDirectory();
      await shard(1, folder, { ...many, pictures: 1 });
      const before = readdirSync(folder, { recursive: true }).sort();
      await expect(shard(0, folder, { ...many, pictures: 1, seed: 2 })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(
          /shards\.json is of shards with other options.*seed was 0 there and is 2 here/,
        ) as string,
      });
      expect(readdirSync(folder, { recursive: true }).sort()).toEqual(before);
      const none = without(given(folder, many), "checkpoint");
      await expect(attack(golden.model, { ...none, shard: { index: 0, count: 2 } } as never)).rejects.toThrow(
        /checkpoint to be given with shard/,
      );
    });
  });

  it("stops at the signal", async () => {
    const controller = new AbortController();
    const aborted = run({ iterations: 50, signal: controller.signal, onStep: () => controller.abort() });
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
    await expect(run({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
  });

  it.each<[string, object, RegExp]>([
    ["an attack that it has not", { method: "guessing" }, /method to be one of "concept-inversion"/],
    ["an option of another attack", { bands: [[0, 1]] }, /"bands" in the options of "concept-inversion"/],
    ["no concept", { concept: "" }, /concept/],
    ["a class that the classifier does not know", { concept: "castle" }, /knows no class "castle"/],
    [
      "neither pictures nor original",
      { images: undefined },
      /images to be pictures of the concept, or original/,
    ],
    ["no pictures", { images: [] }, /images to be a non-empty list/],
    ["no classifier", { classifier: undefined }, /Expected a classifier to look at/],
    ["a prompt without a place", { prompt: "church" }, /prompt to be a text with one {}/],
    ["no pictures of an input", { imagesPerInput: 0 }, /imagesPerInput/],
    ["a sampler that it has not", { sampler: "magic" }, /sampler/],
    ["a band that contains no point", { method: "diverse-inversion", bands: [[1, 2]] }, /band \[from, to\]/],
    ["layers that are none", { method: "key-search", layers: "top" }, /layers/],
    ["more looks than iterations", { method: "key-search", looks: 3 }, /looks/],
    ["no rows", { method: "key-search", size: 0, looks: 1 }, /size/],
  ])("refuses %s, saying what it takes", async (_, options, message) => {
    await expect(run(options)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });
});
