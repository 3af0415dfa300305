import { join } from "node:path";
import { changedTensors } from "../../../../lib/diffusion/save-model";
import { StableDiffusion } from "../../../../lib/diffusion/stable-diffusion";
import { erase } from "../../../../lib/erasure/erase";
import type { CaOptions } from "../../../../lib/erasure/methods/ca";
import { TOKEN_EMBEDDING } from "../../../../lib/erasure/shared/trained-words";
import * as safetensors from "../../../../lib/io/safetensors";
import type { Tensor } from "../../../../lib/runtime/tensor";
import { caTrials } from "../../../support/ca-trials";
import { tensorHash } from "../../../support/hashes";

const words = { parameters: "embedding", concepts: "church dog", anchor: "dog" } as const;
const table = (model: StableDiffusion): Tensor => model.textEncoder.parameter(TOKEN_EMBEDDING);
const hash = (model: StableDiffusion): Promise<string> => tensorHash(table(model));

describe("CA of the embedding alone", () => {
  const { run, batches, expectEquations, folder, model } = caTrials();
  const ids = (text: string): number[] => model().tokenizer.encode(text, { padding: false })[0]!.slice(1, -1);

  it("has the losses of its equations within 0.2 %, and AdamW's rows of the concept's words", async () => {
    const options = { ...words, priorWeight: 0.5, learningRate: 1e-3 };
    const erasure = await run(options);
    const width = table(model()).shape[1]!;
    const trained = new Set(ids("church"));
    expect(trained.size).toBeGreaterThan(0);
    await expectEquations(erasure, await batches([[["dog", "church dog"]]]), {
      network: "textEncoder",
      trained: (name) => name === TOKEN_EMBEDDING,
      only: [...trained].flatMap((row) => Array.from({ length: width }, (_, i) => row * width + i)),
      priorWeight: 0.5,
      learningRate: 1e-3,
    });
    erasure.dispose();
  });

  it("changes no other weight, and saves what it changes in every format", async () => {
    const given = await hash(model());
    const before = await table(model()).data();
    const erasure = await run(words);
    const after = await table(erasure.model).data();
    const width = table(model()).shape[1]!;
    const moved = new Set(
      Array.from(after.keys())
        .filter((i) => after[i] !== before[i])
        .map((i) => Math.floor(i / width)),
    );
    expect([...moved].sort((a, b) => a - b)).toEqual([...new Set(ids("church"))].sort((a, b) => a - b));
    expect(await hash(model())).toBe(given);
    expect(erasure.manifest.changedParameters).toBe(1);

    const directory = folder();
    const { path } = model().source;
    await erasure.save(join(directory, "diffusers"));
    await erasure.save(join(directory, "single"), { format: "single-file" });
    await erasure.save(join(directory, "delta"), { format: "delta" });
    const delta = await safetensors.open(join(directory, "delta", "delta.safetensors"));
    expect(delta.names).toEqual([`text_encoder.${TOKEN_EMBEDDING}`]);
    await delta.close();
    // The fixture's file has this table in float16.
    const stored = await tensorHash(table(erasure.model).to("float16").to("float32"));
    for (const load of [
      () => StableDiffusion.load(join(directory, "diffusers")),
      () => StableDiffusion.load(join(directory, "single", "model.safetensors")),
      () => StableDiffusion.load(path, { delta: join(directory, "delta") }),
    ]) {
      const loaded = await load();
      expect(await hash(loaded)).toBe(stored);
      loaded.dispose();
    }
    erasure.dispose();
  });

  it("resumes to the bits of a run that was not interrupted, and keeps the words in later erasures", async () => {
    const whole = await run(words);
    const controller = new AbortController();
    const checkpoint = { directory: folder(), every: 1 };
    const stopped = run({
      ...words,
      checkpoint,
      signal: controller.signal,
      onStep: () => controller.abort(),
    });
    await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
    const resumed = await run({ ...words, checkpoint, resume: true });
    expect(await hash(resumed.model)).toBe(await hash(whole.model));

    const second = await erase(whole.model, { method: "uce", concepts: "fish" });
    expect([...changedTensors(second.model).textEncoder!.keys()]).toEqual([TOKEN_EMBEDDING]);
    for (const erasure of [whole, resumed, second]) erasure.dispose();
  });

  it.each<[string, Partial<CaOptions>, RegExp]>([
    ["prompts to preserve", { preserve: ["a dog"] }, /preserve/],
    ["a concept whose words are all its anchor's", { concepts: "dog", anchor: "church dog" }, /anchor/],
  ])("refuses %s", async (_, options, message) => {
    await expect(run({ ...words, ...options })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message) as string,
    });
  });
});
