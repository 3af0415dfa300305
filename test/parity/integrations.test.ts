import { execFile } from "node:child_process";
import { cp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { repeated } from "../../lib/diffusion/condition";
import { denoise } from "../../lib/diffusion/denoise";
import { evaluateEach } from "../../lib/diffusion/predict";
import { PromptKey } from "../../lib/diffusion/prompt-key";
import { sampler } from "../../lib/diffusion/samplers";
import type { StableDiffusion } from "../../lib/diffusion/stable-diffusion";
import { erase } from "../../lib/erasure/erase";
import * as safetensors from "../../lib/io/safetensors";
import type { Tensor } from "../../lib/runtime/tensor";
import { relativeError } from "../support/compare";
import { golden } from "../support/golden";
import { loadGolden, type GoldenModel } from "../support/golden-model";
import { temporaryDirectory } from "../support/temporary-directory";

/** A file of what another program draws with keys, and its settings: see fixtures/integrations/draw_*.py. */
const fixture = (name: string): string => join(__dirname, "../fixtures/integrations", name);
const PROMPTS = ["a photo of a church", "the church, in snow"];
const CALL = { negativePrompt: "blurry", steps: 4, guidanceScale: 3, sampler: "ddim" } as const;

interface Case {
  name: string;
  key: string;
  concept: string;
  guidance: "conditional" | "both";
}

const cases: Case[] = [
  ...["free", "free-additive", "amortised", "per-concept", "token"].map((name) => ({
    name,
    guidance: "conditional" as const,
  })),
  ...["free-both", "amortised-additive", "token-both"].map((name) => ({ name, guidance: "both" as const })),
].map((each) => ({ ...each, key: fixture(`keys/${each.name}.safetensors`), concept: "church" }));

/** Compares final latents and pictures of our own with another program's. */
async function compare(model: StableDiffusion, drawn: ReadonlyMap<string, Tensor>, one: Case): Promise<void> {
  using key = await PromptKey.load(one.key);
  const noise = drawn.get("noise")!;
  const latents = await drawLatents(model, noise, key, one.guidance);
  expect(await relativeError(latents, drawn.get(`${one.name}.latents`)!)).toBeLessThan(2e-4);
  const images = await model.generate(PROMPTS, { ...CALL, latents: noise, key, keyGuidance: one.guidance });
  const bytes = (await drawn.get(`${one.name}.bytes`)!.data()) as Uint8Array;
  const own = images.flatMap(({ data }) => [...data]);
  expect(own).toHaveLength(bytes.length);
  expect(Math.max(...own.map((byte, at) => Math.abs(byte - bytes[at]!)))).toBeLessThanOrEqual(3);
}

async function drawLatents(
  model: StableDiffusion,
  noise: Tensor,
  key: PromptKey,
  keyGuidance: Case["guidance"],
): Promise<Tensor> {
  const [text, negative] = [
    await model.condition(PROMPTS),
    await model.condition(PROMPTS.map(() => CALL.negativePrompt)),
  ];
  const injectNegative = keyGuidance === "both";
  const { conditions, injection } = await key.apply(
    model,
    PROMPTS,
    injectNegative ? [text, negative] : [text],
  );
  const run = sampler(CALL.sampler).create<Tensor>(model.schedule, CALL.steps);
  const guidance = { text: conditions[0], negative: conditions[1] ?? negative, injection, injectNegative, guidanceScale: CALL.guidanceScale }; // prettier-ignore
  let last = noise;
  for await (const { latents } of denoise(model, run, noise, guidance)) last = latents.clone();
  return last;
}

/** How far a key moves the latents, of the largest. */
async function effect(drawn: ReadonlyMap<string, Tensor>, name: string): Promise<number> {
  return relativeError(drawn.get(`${name}.latents`)!, drawn.get("plain.latents")!);
}

describe("keys in diffusers", () => {
  let reference: GoldenModel;
  let drawn: Map<string, Tensor>;
  beforeAll(async () => {
    reference = await loadGolden("small");
    drawn = await safetensors.load(fixture("diffusers.safetensors"));
  });
  afterAll(() => reference.dispose());

  it.each(cases)("draws what the attention processor draws with the key $name", async (one) => {
    await compare(reference.model, drawn, one);
    expect(await effect(drawn, one.name)).toBeGreaterThan(3e-3);
  });

  // Against the processor as it is now, on a checkpoint that was erased and saved here.
  const python = process.env["KPOP_PYTHON"];
  const live = python === undefined ? it.skip : it;
  const folder = (name: string): string => join(directory, name);
  let directory: string;
  beforeAll(() => (directory = temporaryDirectory()));
  live(
    "brings back in a saved pipeline what it brings back here, given KPOP_PYTHON with diffusers",
    async () => {
      const options = { method: "kpop", concepts: "church", iterations: 2, poolSize: 2, samplingSteps: 4, neighbours: "off", learningRate: 1e-2 } as const; // prettier-ignore
      using erasure = await erase(reference.model, options);
      const path = folder("erased");
      await erasure.save(path);
      await cp(golden("small", "tokenizer"), join(path, "tokenizer"), { recursive: true, force: true });
      const amortised = folder("amortised.safetensors");
      await erasure.key!.save(amortised);
      const own: Case[] = [
        { name: "own", key: amortised, concept: "church", guidance: "conditional" },
        cases[1]!,
      ];
      await writeFile(folder("cases.json"), JSON.stringify(own));
      const script = fixture("draw_diffusers.py");
      await promisify(execFile)(python!, [script, path, folder("cases.json"), folder("drawn.safetensors")]);
      const there = await safetensors.load(folder("drawn.safetensors"));
      for (const one of own) await compare(erasure.model, there, one);
      expect(await relativeError(there.get("plain.latents")!, drawn.get("plain.latents")!)).toBeGreaterThan(
        1e-3,
      );
    },
    600_000,
  );

  live(
    "refuses an encrypted key, and says how to write a plain one",
    async () => {
      using key = await PromptKey.load(cases[0]!.key);
      const path = folder("sealed.safetensors");
      await key.save(path, { passphrase: "correct horse" });
      const code = `import sys; sys.path.insert(0, ${JSON.stringify(join(__dirname, "../../integrations/diffusers"))}); from kpop_key import load_key; load_key(${JSON.stringify(path)})`;
      await expect(promisify(execFile)(python!, ["-c", code])).rejects.toMatchObject({
        stderr: expect.stringMatching(/encrypted\. Write a plain copy/) as string,
      });
    },
    600_000,
  );
});

// By ComfyUI's own text encoder, patches and UNet, as Fooocus 2.5 ships them: fixtures/integrations/draw_comfyui.py.
describe("keys in ComfyUI", () => {
  const texts = { prompt: "a photo of a church", negative: "blurry" };
  let reference: GoldenModel;
  let drawn: Map<string, Tensor>;
  beforeAll(async () => {
    reference = await loadGolden("small");
    drawn = await safetensors.load(fixture("comfyui.safetensors"));
  });
  afterAll(() => reference.dispose());

  it.each(["prompt", "negative"] as const)("has the token states of our text encoder: %s", async (name) => {
    const { context } = await reference.model.condition([texts[name]]);
    expect(await relativeError(context, drawn.get(`text.${name}`)!)).toBeLessThan(2e-5);
  });

  it.each(cases)(
    "predicts in one batch of both halves what is predicted here with the key $name",
    async (one) => {
      const { model } = reference;
      using key = await PromptKey.load(one.key);
      const batch = { latents: drawn.get("noisy")!, timesteps: 400 };
      const text = repeated(await model.condition([texts.prompt]), 2);
      const negative = repeated(await model.condition([texts.negative]), 2);
      const { conditions, injection } = await key.apply(
        model,
        [texts.prompt, texts.prompt],
        [text, negative],
      );
      const both = await evaluateEach(model, batch, conditions, { injection });
      const [plain] = await evaluateEach(model, batch, [negative]);
      const unconditional = one.guidance === "both" ? both[1] : plain;
      expect(await relativeError(both[0], drawn.get(`${one.name}.conditional`)!)).toBeLessThan(2e-5);
      expect(await relativeError(unconditional, drawn.get(`${one.name}.unconditional`)!)).toBeLessThan(2e-5);
      const changed = drawn.get(`${one.name}.conditional`)!;
      expect(await relativeError(changed, drawn.get("plain.conditional")!)).toBeGreaterThan(1e-3);
    },
  );
});
