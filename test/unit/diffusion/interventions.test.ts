import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { guidedPrediction, type Guidance } from "../../../lib/diffusion/guidance";
import { imageSetIdentity, type SharedOptions } from "../../../lib/diffusion/image-set-identity";
import { sldGuidance, SLD_PRESETS, type SldSettings } from "../../../lib/diffusion/interventions/sld";
import { predictNoise } from "../../../lib/diffusion/predict";
import { StableDiffusion } from "../../../lib/diffusion/stable-diffusion";
import { erase } from "../../../lib/erasure/erase";
import type { Erasure } from "../../../lib/erasure/erasure";
import { inspect } from "../../../lib/io/inspect";
import { Random } from "../../../lib/runtime/random";
import type { Tensor } from "../../../lib/runtime/tensor";
import { EvaluationCounter } from "../../../lib/training/evaluations";
import { relativeError } from "../../support/compare";
import { loadGolden, type GoldenModel } from "../../support/golden-model";

const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);
const SHAPE = [1, 4, 4, 4];
const settings = (more: Partial<SldSettings> = {}): SldSettings => ({
  ...SLD_PRESETS["max"]!,
  concept: "church",
  ...more,
});

/** The paper's guidance, one number after the other. */
function reference(
  o: SldSettings,
  steps: readonly Record<"e0" | "ep" | "es", number[]>[],
  w: number,
): number[][] {
  const momentum = steps[0]!.e0.map(() => 0);
  return steps.map(({ e0, ep, es }, step) =>
    e0.map((_, k) => {
      const away = ep[k]! - es[k]!;
      const mu = away < o.threshold ? Math.min(1, o.scale * Math.abs(away)) : 0;
      const gamma = mu * (es[k]! - e0[k]!) + o.momentumScale * momentum[k]!;
      momentum[k] = o.momentum * momentum[k]! + (1 - o.momentum) * gamma;
      return e0[k]! + w * (ep[k]! - e0[k]! - (step >= o.warmup ? gamma : 0));
    }),
  );
}

describe("SLD's guidance", () => {
  const draw = (step: number, which: string): Tensor => new Random(7).at(step, which).normal(SHAPE).mul(0.01);

  it.each(Object.entries(SLD_PRESETS))(
    "%s is that of a loop over numbers in float64, within 1e-6",
    async (_, preset) => {
      const o = settings({ ...preset, warmup: Math.min(preset.warmup, 2) });
      const run = sldGuidance(o).start();
      const steps = Array.from({ length: 5 }, (__, step) => step);
      const parts = [];
      const actual: number[] = [];
      for (const step of steps) {
        const [e0, ep, es] = ["e0", "ep", "es"].map((which) => draw(step, which)) as [Tensor, Tensor, Tensor];
        parts.push({ e0: await numbers(e0), ep: await numbers(ep), es: await numbers(es) });
        const steered = run.steer({ conditional: ep, unconditional: e0, others: [es], step });
        actual.push(...(await numbers(e0.add(steered.sub(e0).mul(7.5)))));
      }
      const expected = reference(o, parts, 7.5).flat();
      const largest = Math.max(...expected.map(Math.abs));
      actual.forEach((value, i) => expect(Math.abs(value - expected[i]!) / largest).toBeLessThan(1e-6));
    },
  );

  it("moves its momentum once a step where a sampler evaluates twice in one, by the second evaluation", async () => {
    const at = (step: number, draws: number) => ({
      ...{ conditional: draw(draws, "ep"), unconditional: draw(draws, "e0"), others: [draw(draws, "es")] },
      step,
    });
    const twice = sldGuidance(settings()).start();
    const once = sldGuidance(settings()).start();
    const first = twice.steer(at(0, 0));
    twice.steer(at(0, 1));
    once.steer(at(0, 1));
    expect(await numbers(twice.steer(at(1, 2)))).toEqual(await numbers(once.steer(at(1, 2))));
    // Both evaluations of a step have the momentum from before it.
    const again = sldGuidance(settings()).start();
    again.steer(at(0, 1));
    expect(await numbers(again.steer(at(0, 0)))).toEqual(await numbers(first));
  });

  it("is the prompt's prediction itself during the warm-up, while its momentum moves already", async () => {
    const given = { conditional: draw(0, "ep"), unconditional: draw(0, "e0"), others: [draw(0, "es")] };
    const late = sldGuidance(settings({ warmup: 1 })).start();
    const early = sldGuidance(settings({ warmup: 0 })).start();
    expect(late.steer({ ...given, step: 0 })).toBe(given.conditional);
    early.steer({ ...given, step: 0 });
    const [a, b] = [late, early].map((run) => run.steer({ ...given, step: 1 }));
    expect(await numbers(a!)).toEqual(await numbers(b!));
    const fresh = sldGuidance(settings({ warmup: 0 })).start();
    expect(await numbers(fresh.steer({ ...given, step: 1 }))).not.toEqual(await numbers(a!));
  });
});

describe("a model with an intervention", () => {
  let golden: GoldenModel;
  let folder: string;
  let erasure: Erasure;
  const drawing = { steps: 3, seed: 4, guidanceScale: 5, sampler: "ddim" } as const;

  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
    folder = await mkdtemp(join(tmpdir(), "kpop-interventions-"));
    erasure = await erase(golden.model, { method: "sld", concepts: ["church", "dog"], preset: "max" });
    await erasure.save(join(folder, "model"));
  });
  afterAll(async () => {
    erasure.dispose();
    await golden.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  it("steers in one batch with guidance, and leaves it as it is where it never applies", async () => {
    const { model } = golden;
    const batch = { latents: new Random(1).normal([2, 4, 16, 16]), timesteps: [700, 20] };
    const [text, negative, own] = await Promise.all([
      model.condition(["church", "a photo"]),
      model.condition(["", ""]),
      model.condition(["dog", "dog"]),
    ]);
    const guidance: Guidance = { text, negative, guidanceScale: 5 };
    const steered = (more: Partial<SldSettings>): Promise<Tensor> => {
      const by = sldGuidance(settings(more)).start();
      return guidedPrediction(model, batch, { ...guidance, steering: [{ by, prompts: [own] }] });
    };
    const plain = await guidedPrediction(model, batch, guidance);
    const never = await steered({ threshold: -1e9, momentumScale: 0 });
    // The third text in the batch changes roundings alone.
    expect(await relativeError(never, plain)).toBeLessThan(1e-5);
    const always = await steered({ threshold: 1e9, scale: 1e30, momentumScale: 0 });
    const e0 = await predictNoise(model, batch, negative);
    const away = (await predictNoise(model, batch, text)).sub(await predictNoise(model, batch, own));
    expect(await relativeError(always, e0.add(away.mul(5)))).toBeLessThan(5e-5);
  });

  it("draws other pictures than the original for three evaluations a step, and the same once saved and loaded", async () => {
    const counter = new EvaluationCounter();
    const [picture] = await counter.run(() => erasure.model.generate("church", drawing));
    expect(counter.total).toBe(9);
    const [original] = await golden.model.generate("church", drawing);
    expect(picture!.data).not.toEqual(original!.data);
    const loaded = await StableDiffusion.load(join(folder, "model"), { device: "cpu" });
    expect(loaded.interventions.map(({ settings: saved }) => saved["concept"])).toEqual(["church, dog"]);
    const [again] = await loaded.generate("church", drawing);
    expect(again!.data).toEqual(picture!.data);
    const [unguided] = await loaded.generate("church", { ...drawing, guidanceScale: 1 });
    const [same] = await golden.model.generate("church", { ...drawing, guidanceScale: 1 });
    expect(unguided!.data).toEqual(same!.data);
    loaded.dispose();
  });

  it("is of concepts that are one text together: more than that are refused", async () => {
    const concepts = Array.from({ length: 40 }, (_, i) => `church ${i}`);
    await expect(erase(golden.model, { method: "sld", concepts })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/as one text to have at most 77 tokens.* but they have \d+/) as string,
    });
  });

  it("has pictures of its own in the cache, and is told by inspect", async () => {
    const shared: SharedOptions = {
      ...{ steps: 3, guidanceScale: 5, negativePrompt: "", width: 64, height: 64, batchSize: 1 },
      sampler: "ddim",
      keyGuidance: "conditional",
    };
    const [own, original] = await Promise.all(
      [erasure.model, golden.model].map((model) => imageSetIdentity(model, shared, undefined)),
    );
    expect({ ...own, interventions: [] }).toEqual(original);
    expect(own).not.toEqual(original);
    expect(await inspect(join(folder, "model"))).toMatchObject({
      kind: "model",
      interventions: [{ name: "sld", version: 1, settings: { concept: "church, dog", scale: 5000 } }],
    });
  });

  it("is what attacks see: its prediction differs from the bare network's, with a gradient", async () => {
    const latents = new Random(1).normal([1, 4, 16, 16]);
    const embeddings = await (await golden.model.encode("church")).clone().requireGrad();
    const batch = { latents, timesteps: [500] };
    const bare = await golden.model.predict(batch, { context: embeddings });
    const guided = await erasure.model.predict(batch, { context: embeddings }, { grad: true });
    expect(await relativeError(guided, bare)).toBeGreaterThan(1e-3);
    await guided.square().mean().backward([embeddings]);
    expect(await embeddings.grad!.abs().amax([0, 1, 2]).item()).toBeGreaterThan(0);
  });

  it.each(["single-file", "delta", "lora"] as const)("is refused by the format %s", async (format) => {
    const refused = {
      code: "UNSUPPORTED_FORMAT",
      message: expect.stringContaining("denoises with sld") as string,
    };
    await expect(erasure.save(join(folder, format), { format })).rejects.toMatchObject(refused);
    await expect(erasure.model.save(join(folder, `${format}.safetensors`), { format })).rejects.toMatchObject(
      refused,
    );
  });

  it("is refused by name where it is newer, unknown or damaged", async () => {
    const file = join(folder, "model", "kpop-interventions.json");
    const whole = JSON.parse(await readFile(file, "utf8")) as { interventions: Record<string, unknown>[] };
    const record = whole.interventions[0]!;
    const cases: [object, string, RegExp][] = [
      [{ ...whole, version: 2 }, "UNSUPPORTED_FORMAT", /version 2; this library reads version 1/],
      [
        { ...whole, interventions: [{ ...record, version: 2 }] },
        "UNSUPPORTED_FORMAT",
        /"sld" to be of version 1/,
      ],
      [
        { ...whole, interventions: [{ ...record, name: "saeuron-9" }] },
        "UNSUPPORTED_FORMAT",
        /"saeuron-9".*has sld/,
      ],
      [
        { ...whole, interventions: [{ ...record, settings: { scale: "x" } }] },
        "INVALID_CHECKPOINT",
        /settings.scale/,
      ],
      [{ ...whole, interventions: [5] }, "INVALID_CHECKPOINT", /damaged/],
    ];
    for (const [content, code, message] of cases) {
      await writeFile(file, JSON.stringify(content));
      await expect(StableDiffusion.load(join(folder, "model"))).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message) as string,
      });
    }
    await writeFile(file, JSON.stringify(whole));
  });
});
