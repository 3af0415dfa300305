import { AdversarialWords, adversarialWords } from "../../../../lib/erasure/shared/adversarial-words";
import { trajectories } from "../../../../lib/erasure/shared/latent-options";
import { fillTemplates } from "../../../../lib/erasure/shared/texts";
import { complete } from "../../../../lib/options/option";
import type { Tensor } from "../../../../lib/runtime/tensor";
import { stubJob } from "../../../support/erasure-job";
import { loadGolden, type GoldenModel } from "../../../support/golden-model";
import { weightHashes } from "../../../support/hashes";

const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);

describe("AdversarialWords", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());

  const declared = { ...adversarialWords({ candidates: 10, temperature: 2 }), ...trajectories() };
  const concepts = ["church", "truck"];
  const given = { vocabulary: ["castle", "temple", "dog"], samplingSteps: 6, poolSize: 2, templates: ["{}", "a {}"] }; // prettier-ignore
  const options = { ...complete(declared, given, { concepts }), batchSize: 2 };

  it("takes a step of the weights alone, then of the search alone, on what the trajectories of its words have come to", async () => {
    const trained = golden.model.unet.parameterNames().filter((name) => name.includes("attn2.to_k"));
    const student = await golden.model.derive(new Set(trained), "float32", "unet", []);
    const job = stubJob({ base: golden.model, student, trained, concepts });
    const learn = jest.spyOn(job, "learn");
    const part = jest.spyOn(job, "part");
    const texts = fillTemplates(concepts, options.templates);
    await job.run(async () => {
      const empty = await job.encode([""]);
      const towards = await job.encode(texts.map(({ text }) => text));
      const weights = await job.adam({ learningRate: 1e-2, iterations: 9 });
      const latents = await job.latents(options, { towards, empty });
      const adversary = await AdversarialWords.create(job, options, texts, empty);
      const logits = learn.mock.calls.find(([name]) => name === "words")![1].get("logits")!;
      // Three words in two phrasings, for each of two concepts.
      expect(await numbers(logits)).toEqual(Array<number>(12).fill(Math.fround(1 / 6)));
      const state = async () => [await weightHashes(student.unet), await numbers(logits)] as const;

      await job.iterate(3, async (i) => {
        const batch = await latents.next(i);
        const words = await adversary.next(i, batch);
        // The same noise, timestep and concept; where the trajectories lead is what they differ by.
        expect([words.batch.timesteps, words.batch.texts]).toEqual([batch.timesteps, batch.texts]);
        words.draws.forEach(({ group }, item) => expect(group).toBe(texts[batch.texts[item]!]!.concept));
        const before = await state();
        await weights.update(i, async (backward) => {
          const concept = await job.encode(batch.texts.map((text) => texts[text]!.text));
          const predicted = await student.predict(batch, concept, { grad: true });
          await latents.advance(i, { conditional: predicted });
          await backward(predicted.square().mean());
          return adversary.step(i, words, backward);
        });
        const stepped = await state();
        expect(stepped[0]).not.toEqual(before[0]);
        expect(stepped[1]).toEqual(before[1]);
        const { search } = await adversary.ascend(i, words);
        expect(await (search as Tensor).item()).toBeGreaterThan(0);
        const searched = await state();
        expect(searched[0]).toEqual(stepped[0]);
        expect(searched[1]).not.toEqual(stepped[1]);
        return {};
      });
      const [own, others] = ["latents", "word-latents"].map((name) => {
        const [, made] = part.mock.calls.find(([called]) => called === name)!;
        return [...made.tensors!().values()];
      });
      expect(own).toHaveLength(2);
      // One that has just begun is its noise.
      const same = own!.map(async (z, at) => (await z.mse(others![at]!).item()) === 0);
      expect(await Promise.all(same)).toContain(false);
    });
    student.dispose();
  });
});
