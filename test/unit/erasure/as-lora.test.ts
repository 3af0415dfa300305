import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { applyLora } from "../../../lib/diffusion/apply-lora";
import { Lora } from "../../../lib/diffusion/lora";
import type { StableDiffusion } from "../../../lib/diffusion/stable-diffusion";
import { erase } from "../../../lib/erasure/erase";
import type { Erasure } from "../../../lib/erasure/erasure";
import { changedBy, parseOptions } from "../../../lib/erasure/method";
import { METHOD_NAMES, methodNamed, type EraseOptions } from "../../../lib/erasure/registry";
import type { CustomLatents } from "../../../lib/erasure/shared/custom-source";
import { LORA_FILE } from "../../../lib/io/file-kinds";
import * as safetensors from "../../../lib/io/safetensors";
import { selectParameters } from "../../../lib/models/parameter-selector";
import { Random } from "../../../lib/runtime/random";
import { relativeError, relativeUpdateError } from "../../support/compare";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { tensorHash } from "../../support/hashes";
import { shortOptions } from "../../support/method-contract";

const INVALID = { name: "KpopError", code: "INVALID_ARGUMENT" };
const RANK = 2;
/** What is held: few, so that runs are short. */
const WORDS = ["dog", "fish", "castle", "house", "tree", "temple"];
const takes = METHOD_NAMES.filter((name) => {
  const { kind, noLora } = methodNamed(name);
  return kind === "training" && noLora === undefined;
});

describe('erase with as: "lora"', () => {
  let golden: GoldenModel;
  let folder: string;
  let before: Map<string, string>;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
    folder = await mkdtemp(join(tmpdir(), "kpop-lora-"));
    before = await snapshot(golden.model);
  });
  afterAll(async () => {
    await golden.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  const run = (method: string, more: object = {}): Promise<Erasure> => {
    const short = shortOptions(method, join(folder, "cache"));
    const fixed = { concepts: "church", seed: 5, as: "lora", rank: RANK, neighbours: { words: WORDS } };
    const inverting = method === "fmn" ? { invert: false } : {};
    return erase(golden.model, { method, ...fixed, ...short, ...inverting, ...more } as EraseOptions);
  };

  it("is for every training method but those that train something else", () => {
    expect([...takes].sort()).toEqual([
      "age",
      "ca",
      "eap",
      "esd",
      "fmn",
      "kpop",
      "race",
      "sdd",
      "space",
      "stereo",
    ]);
  });

  it.each(takes)(
    "trains factors alone with %s, saves them as they are, and resumes to the same bits",
    async (name) => {
      using reference = await run(name);
      const own = parseOptions(methodNamed(name), shortOptions(name, folder), { concepts: ["church"] });
      const shapes = golden.model.unet.parameterShapes();
      const selected = selectParameters(changedBy(methodNamed(name), own)!.parameters, Object.keys(shapes));
      const after = await snapshot(reference.model);
      const changed = [...after].filter(([key, bits]) => bits !== before.get(key)).map(([key]) => key);
      expect(changed.length).toBeGreaterThan(0);
      expect(changed.filter((key) => !selected.includes(key) || shapes[key]!.length === 1)).toEqual([]);

      const saved = join(folder, name);
      await reference.save(saved, { format: "lora" });
      const stored = await safetensors.load(join(saved, LORA_FILE));
      const ranks = [...stored].filter(([key]) => key.endsWith("lora_down.weight")).map(([, { shape }]) => shape[0]); // prettier-ignore
      expect(ranks).toEqual(ranks.map(() => RANK));
      using applied = await applyLora(golden.model, saved);
      expect(await snapshot(applied)).toEqual(after);

      const controller = new AbortController();
      const checkpoint = { directory: join(folder, `${name}-state`), every: 1 };
      const onStep = (): void => controller.abort();
      const stopped = run(name, { checkpoint, signal: controller.signal, onStep });
      await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
      using resumed = await run(name, { checkpoint, resume: true });
      expect(await snapshot(resumed.model)).toEqual(after);
      expect(await snapshot(golden.model)).toEqual(before);
    },
  );

  it("has PyTorch's losses and factors of ESD, of matrices and of a convolution", async () => {
    const expected = await safetensors.load(join(__dirname, "../../fixtures/lora/esd.safetensors"));
    const parameters = /^mid_block\.(attentions.*attn2\.to_(k|out\.0)|resnets\.0\.conv1)\./;
    const keys = selectParameters(parameters, golden.model.unet.parameterNames()).filter((key) => key.endsWith(".weight")); // prettier-ignore
    const start = await Lora.start(golden.model, RANK, new Random(5).at("lora"), keys);
    const latents = expected.get("latents")!;
    const given = async function* (): AsyncGenerator<CustomLatents> {
      for (const [i, timestep] of [981, 401, 21].entries()) yield { latents: latents.slice(0, i, i + 1).reshape([4, 8, 8]), timestep }; // prettier-ignore
    };
    const options = {
      method: "esd",
      concepts: "church",
      neighbours: "off",
      seed: 5,
      as: "lora",
      rank: RANK,
    } as const;
    using erasure = await erase(golden.model, { ...options, parameters, iterations: 3, learningRate: 1e-2, latents: given() }); // prettier-ignore
    const losses = (await expected.get("losses")!.data()) as Float32Array;
    erasure.history.forEach(({ losses: own }, i) => expect(own["erase"]! / losses[i]!).toBeCloseTo(1, 4));
    for (const key of keys) {
      const [begun, down] = [
        start.tensors().get(`${key}.down`)!,
        erasure.lora!.tensors().get(`${key}.down`)!,
      ];
      const first = expected.get(`start.${key}`)!.reshape(begun.shape);
      expect(await relativeError(begun, first)).toBe(0);
      expect(await relativeUpdateError(down, expected.get(`${key}.down`)!, first)).toBeLessThan(1e-3);
      const up = erasure.lora!.tensors().get(`${key}.up`)!;
      expect(await relativeError(up, expected.get(`${key}.up`)!)).toBeLessThan(1e-3);
    }
    const bias = "mid_block.resnets.0.conv1.bias";
    expect(await tensorHash(erasure.model.unet.parameter(bias))).toBe(before.get(bias));
    start.dispose();
  });

  it.each(["esd", "sdd"])(
    "spares what neighbours read of a text, as steps of weights do, with %s",
    async (method) => {
      const moved = async (spare: number): Promise<number> => {
        using erasure = await run(method, {
          parameters: "xattn-kv",
          spare,
          preserveWeight: 0,
        });
        const key = golden.model.unet.parameterNames().find((name) => /mid_block.*attn2\.to_v/.test(name))!;
        const change = erasure.model.unet.parameter(key).detach().sub(golden.model.unet.parameter(key));
        const of = async (text: string): Promise<number> => {
          const { context } = await golden.model.condition([text]);
          return context.matmul(change.transpose(0, 1)).square().sum().item();
        };
        return (await of("dog")) / (await of("church"));
      };
      expect(await moved(30)).toBeLessThan(0.5 * (await moved(0)));
    },
  );

  it("takes RACE's pull on the weights into the factors", async () => {
    const bits = async (lasso: number): Promise<Map<string, string>> => {
      using erasure = await run("race", { plain: 0, lasso });
      return await snapshot(erasure.model);
    };
    expect(await bits(100)).not.toEqual(await bits(0));
  });

  it.each<[string, object, RegExp]>([
    [
      "a closed form",
      { method: "uce" },
      /closed form and trains nothing: save what it changes with the format "lora"/,
    ],
    ["inference", { method: "sld" }, /changes no weights/],
    ["a mask", { method: "prune" }, /learns which weights become zero/],
    ["the way back", { method: "task-vector" }, /takes off what it trains/],
    [
      "words of the text encoder",
      { method: "ca", anchor: "castle", parameters: "embedding" },
      /text encoder/,
    ],
    ["a rank without one", { method: "esd", as: "weights" }, /rank/],
    ["no rank", { method: "esd", rank: 0 }, /rank/],
    ["another form", { method: "esd", as: "dora" }, /as to be/],
  ])("refuses %s before a model is loaded", async (_, options, message) => {
    const asked = erase(join(folder, "nowhere"), {
      concepts: "church",
      as: "lora",
      rank: 4,
      ...options,
    });
    await expect(asked).rejects.toMatchObject({
      ...INVALID,
      message: expect.stringMatching(message) as string,
    });
  });

  it("refuses parameters that no LoRA changes, and another rank when it is saved", async () => {
    await expect(run("esd", { parameters: /norm\d?\.(weight|bias)$/ })).rejects.toMatchObject({
      ...INVALID,
      message: expect.stringMatching(/all \d+ that it selects are biases or scales of norms/) as string,
    });
    await expect(run("esd", { rank: 10_000 })).rejects.toMatchObject({
      ...INVALID,
      message: expect.stringMatching(/rank to be an integer from 1 to \d+ but received 10000/) as string,
    });
    using erasure = await run("esd", { iterations: 1 });
    const saving = erasure.save(join(folder, "other"), { format: "lora", rank: 8 });
    await expect(saving).rejects.toMatchObject({
      ...INVALID,
      message: expect.stringMatching(/rank to be 2/) as string,
    });
  });
});

/** A hash of the bytes of each of the UNet's parameters. */
async function snapshot({ unet }: StableDiffusion): Promise<Map<string, string>> {
  const hashes = unet
    .parameterNames()
    .map(async (name) => [name, await tensorHash(unet.parameter(name))] as const);
  return new Map(await Promise.all(hashes));
}
