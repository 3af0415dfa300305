import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { interventionsIdentity } from "../../lib/diffusion/model-hash";
import { StableDiffusion, type DerivedNetwork } from "../../lib/diffusion/stable-diffusion";
import { erase } from "../../lib/erasure/erase";
import type { Erasure } from "../../lib/erasure/erasure";
import { parseOptions } from "../../lib/erasure/method";
import { methodNamed, type EraseOptions } from "../../lib/erasure/registry";
import { loraPrefixes } from "../../lib/io/file-kinds";
import * as safetensors from "../../lib/io/safetensors";
import { selectParameters, type ParameterSelector } from "../../lib/models/parameter-selector";
import type { Tensor } from "../../lib/runtime/tensor";
import type { PrepareReport } from "../../lib/training/step-report";
import { loadGolden, type GoldenModel } from "./golden-model";
import { tensorHash } from "./hashes";

const ABORTED = { name: "KpopError", code: "ABORTED" };
const INVALID = { name: "KpopError", code: "INVALID_ARGUMENT" };
/** Of the files that a folder's result lies in. */
const FILES = { "single-file": "model.safetensors", lora: "lora.safetensors" } as const;
const NETWORKS = ["unet", "textEncoder", "textEncoder2", "vae"] as const;

/** Values that make a run of any method short, of which it takes those that it has an option for. */
export function shortOptions(name: string, cacheDirectory: string): Record<string, unknown> {
  const { options } = methodNamed(name);
  const short = {
    iterations: 3,
    modulationIterations: 2,
    images: 2,
    samplingSteps: "images" in options ? 2 : 6,
    watchedSteps: 2,
    templates: ["a {}", "a {} in a road"],
    references: ["a road", "a garden"],
    margin: 5e-4,
    poolSize: 2,
    vocabulary: ["dog", "fish", "castle", "house", "tree", "temple"],
    candidates: 5,
    words: 4,
    places: 3,
    active: 4,
    percentile: 98,
    attackSteps: 2,
    searchIterations: 2,
    inversionIterations: 2,
    batchSize: Math.min(2, (options["batchSize"]?.default as number | undefined) ?? 2),
    learningRate: 1e-3,
    inversion: { iterations: 2, vectors: 2 },
    cacheDirectory,
  };
  return Object.fromEntries(Object.entries(short).filter(([key]) => key in options));
}

/**
 * What every method owes, whatever it does, run for each entry of the registry.
 * @param open the model that is erased from, tiny. Default Stable Diffusion 1's kind
 * @param shorter options for a model that takes longer: of every run, and of methods that have them. Default none
 */
export function describeMethods(
  names: readonly string[],
  open: () => Promise<GoldenModel> = () => loadGolden("small", { latents: 8 }),
  shorter: { run?: object; method?: object } = {},
): void {
  let golden: GoldenModel;
  /** The input model before any run. */
  let before: Map<string, string>;
  beforeAll(async () => {
    golden = await open();
    before = await snapshot(golden.model);
  });
  afterAll(() => golden.dispose());

  describe.each(names)("method %s", (name) => {
    const method = methodNamed(name);
    /** Most closed forms, and inference, draw nothing at random. */
    const drawn = method.draws ?? method.kind === "training";
    let folder: string;
    /** A run that most tests look at. */
    let reference: Erasure;
    const prepared: PrepareReport[] = [];
    const short = (): Record<string, unknown> => ({
      ...shortOptions(name, join(folder, "cache")),
      ...Object.fromEntries(Object.entries(shorter.method ?? {}).filter(([key]) => key in method.options)),
    });
    /** Inference that holds texts draws each of them. */
    const held =
      method.kind === "inference" && method.holds !== undefined
        ? { neighbours: { words: ["dog", "house"] } }
        : {};
    const options = (more: object = {}): EraseOptions =>
      ({
        method: name,
        concepts: "church",
        seed: 5,
        ...short(),
        ...shorter.run,
        ...held,
        ...more,
      }) as EraseOptions;

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), "kpop-contract-"));
      reference = await erase(golden.model, options({ onPrepare: (report: PrepareReport) => void prepared.push(report) })); // prettier-ignore
    });
    afterAll(async () => {
      reference.dispose();
      await rm(folder, { recursive: true, force: true });
    });

    it("changes only selected weights, some of them or how the model denoises, and leaves the input as it was", async () => {
      const after = await snapshot(reference.model);
      const own = parseOptions(method, short(), { concepts: ["church"] });
      const network = method.network?.(own) ?? "unet";
      const selector = method.parameters?.(own) ?? (own["parameters"] as ParameterSelector | undefined);
      const keys = golden.model[network].parameterNames();
      const selected = new Set(
        (selector === undefined ? [] : selectParameters(selector, keys)).map((key) => `${network}.${key}`),
      );
      const changed = [...after].filter(([key, bytes]) => bytes !== before.get(key)).map(([key]) => key);
      expect(changed.filter((key) => !selected.has(key))).toEqual([]);
      if (method.kind === "inference") {
        expect(changed).toEqual([]);
        expect(reference.model.interventions.length).toBeGreaterThan(0);
      } else {
        expect(changed.length).toBeGreaterThan(0);
        expect(reference.model.interventions).toEqual([]);
      }
      expect(golden.model.interventions).toEqual([]);
      expect(await snapshot(golden.model)).toEqual(before);
    });

    /** All that comes of a run: hashes of weights and artefacts, and the settings of interventions. */
    let saved = 0;
    async function bits({ model, artefacts }: Erasure): Promise<Map<string, string>> {
      const found = await snapshot(model);
      for (const intervention of await interventionsIdentity(model.interventions))
        found.set(`intervention ${found.size}`, JSON.stringify(intervention));
      for (const artefact of artefacts) {
        const path = join(folder, `${saved++}.safetensors`);
        await artefact.save(path);
        found.set(artefact.name, createHash("sha256").update(await readFile(path)).digest("hex")); // prettier-ignore
      }
      return found;
    }

    it(`gives ${drawn ? "other bits for another seed" : "the same bits for any seed"}`, async () => {
      const erasure = await erase(golden.model, options({ seed: 6 }));
      const other = await bits(erasure);
      erasure.dispose();
      // The result has weights of its own; freeing them leaves the input model alone.
      expect(await snapshot(golden.model)).toEqual(before);
      if (drawn) expect(other).not.toEqual(await bits(reference));
      else expect(other).toEqual(await bits(reference));
    });

    it("leaves the artefacts that it names, each a file of its own", async () => {
      const expected = method.artefacts?.(["church"]) ?? [];
      expect(reference.artefacts.map((artefact) => artefact.name)).toEqual(expected);
      for (const artefact of reference.artefacts) {
        const path = join(folder, `${artefact.name}.safetensors`);
        await artefact.save(path);
        const tensors = await safetensors.load(path);
        expect(tensors.size).toBeGreaterThan(0);
        for (const tensor of tensors.values()) tensor.dispose();
      }
    });

    it("stops on abort within one step and leaves the input model as it was", async () => {
      const controller = new AbortController();
      // A method without steps looks at the signal before it begins.
      const expected = Math.min(1, reference.history.length);
      if (expected === 0) controller.abort();
      let steps = 0;
      const onStep = (): void => {
        steps += 1;
        controller.abort();
      };
      const run = erase(golden.model, options({ signal: controller.signal, onStep }));
      await expect(run).rejects.toMatchObject(ABORTED);
      expect(steps).toBe(expected);
      expect(await snapshot(golden.model)).toEqual(before);
    });

    it("stops on abort while it prepares, where it does, at once, and leaves the input model as it was", async () => {
      const controller = new AbortController();
      const told: string[] = [];
      const run = erase(
        golden.model,
        options({
          ...("cacheDirectory" in short() ? { cacheDirectory: join(folder, "empty") } : {}),
          signal: controller.signal,
          onPrepare: () => {
            told.push("prepare");
            controller.abort();
          },
          onStep: () => told.push("step"),
        }),
      );
      // Words that were looked at are kept in the user's cache.
      const anew = prepared.filter(({ what }) => what !== "word");
      if (anew.length === 0) {
        (await run).dispose();
        expect(told).not.toContain("prepare");
        return;
      }
      await expect(run).rejects.toMatchObject(ABORTED);
      expect(told).toEqual(["prepare"]);
      expect(await snapshot(golden.model)).toEqual(before);
      const { what, done, total, etaSeconds } = anew.at(-1)!;
      expect([what.length > 0, done, etaSeconds]).toEqual([true, total, 0]);
    });

    it("saves a model that loads as the one in memory, in every format that can hold it", async () => {
      const { path } = golden.model.source;
      const expected = await snapshot(reference.model);
      const loads = async (from: string, delta?: string): Promise<void> => {
        const load = { device: "cpu", ...(delta === undefined ? {} : { delta }) } as const;
        const loaded = await StableDiffusion.load(from, load);
        expect(await snapshot(loaded)).toEqual(expected);
        expect(await interventionsIdentity(loaded.interventions)).toEqual(
          await interventionsIdentity(reference.model.interventions),
        );
        loaded.dispose();
      };
      await reference.save(join(folder, "diffusers"));
      await loads(join(folder, "diffusers"));
      const files = ["single-file", "delta", "lora"] as const;
      for (const format of files) {
        const saving = reference.save(join(folder, format), {
          format,
          ...(format === "lora" ? { rank: 512 } : {}),
        });
        if (method.kind !== "inference") await saving;
        else await expect(saving).rejects.toMatchObject({ code: "UNSUPPORTED_FORMAT" });
      }
      if (method.kind === "inference") return;
      await loads(join(folder, "single-file", FILES["single-file"]));
      await loads(path, join(folder, "delta"));
      // Factors of full rank are in float16, so each has an error of 2⁻¹¹.
      expect(await loraError(join(folder, "lora", FILES.lora), golden.model, reference.model)).toBeLessThan(
        2e-3,
      );
    });

    // Which is to give the same bits for the same seed, too: a closed form, which keeps no state, runs once more.
    it("resumes from a saved state to the bits of a run that was not interrupted", async () => {
      const controller = new AbortController();
      const checkpoint = { directory: join(folder, "state"), every: 1 };
      const onStep = (): void => controller.abort();
      const made: PrepareReport[] = [];
      const onPrepare = (report: PrepareReport): void => void made.push(report);
      const stopped = erase(golden.model, options({ checkpoint, signal: controller.signal, onStep, onPrepare })); // prettier-ignore
      if (reference.history.length > 0) await expect(stopped).rejects.toMatchObject(ABORTED);
      else (await stopped).dispose();
      const resumed = await erase(golden.model, options({ checkpoint, resume: true, onPrepare }));
      expect(await bits(resumed)).toEqual(await bits(reference));
      expect(withoutTime(resumed)).toEqual(withoutTime(reference));
      // What is on disk is found again; what is in the state, where there is one, is not made a second time, and what a later
      // stage of the run needs is made once.
      const told = (reports: readonly PrepareReport[]): string[] =>
        reports
          .filter(({ what }) => what !== "picture" && what !== "word")
          .map(({ what, done }) => `${what} ${done}`);
      if (method.kind === "training") expect(told(made)).toEqual(told(prepared));
      resumed.dispose();
      // Without iterations there is no state that could be another run's.
      if (method.kind === "closed form" || reference.history.length === 0) return;
      const other = erase(golden.model, options({ checkpoint, resume: true, seed: 9 }));
      await expect(other).rejects.toMatchObject({
        ...INVALID,
        message: expect.stringContaining("other options") as string,
      });
    });

    it("rejects unknown options, empty concepts and values out of range, by name", async () => {
      const cases: [object, RegExp][] = [
        [{ iteration: 3 }, /"iteration"/],
        [{ concepts: "" }, /concepts/],
        [{ concepts: [] }, /concepts/],
        [{ seed: -1 }, /seed/],
      ];
      for (const [more, message] of cases) {
        await expect(erase(golden.model, options(more))).rejects.toMatchObject({
          ...INVALID,
          message: expect.stringMatching(message) as string,
        });
      }
    });

    it("refuses a wrong value of any option before a model is loaded, at once", async () => {
      const nowhere = join(folder, "nowhere", "model");
      await expect(erase(nowhere, options())).rejects.toMatchObject({ code: "NOT_FOUND" });
      const wrong = Symbol("wrong");
      const took: number[] = [];
      for (const key of Object.keys(method.options)) {
        const started = performance.now();
        await expect(erase(nowhere, options({ [key]: wrong }))).rejects.toMatchObject({
          ...INVALID,
          message: expect.stringContaining(key) as string,
        });
        took.push(performance.now() - started);
      }
      expect(took.sort((a, b) => a - b)[Math.floor(took.length / 2)]).toBeLessThan(100);
    });
  });
}

/** A hash of the bytes of each parameter, of every network. */
async function snapshot(model: StableDiffusion): Promise<Map<string, string>> {
  const parameters = NETWORKS.flatMap((name) => {
    const network = model[name];
    return (network?.parameterNames() ?? []).map(
      async (key) => [`${name}.${key}`, await tensorHash(network!.parameter(key))] as const,
    );
  });
  return new Map(await Promise.all(parameters));
}

/** ‖Δ - Δ'‖ / ‖Δ'‖ of what a LoRA adds to the layers that it has, against what changed in them. */
async function loraError(path: string, base: StableDiffusion, erased: StableDiffusion): Promise<number> {
  const stored = await safetensors.load(path);
  let [error, norm, layers] = [0, 0, 0];
  for (const [network, prefix] of Object.entries(loraPrefixes(base)) as [DerivedNetwork, string][]) {
    for (const name of base[network]!.parameterNames()) {
      const module = `${prefix}_${name.replace(/\.weight$/, "").replaceAll(".", "_")}`;
      const part = (which: string): Tensor | undefined => stored.get(`${module}.${which}`)?.to("float64");
      const [up, down, alpha] = [part("lora_up.weight"), part("lora_down.weight"), part("alpha")];
      if (up === undefined || down === undefined || !name.endsWith(".weight")) continue;
      const rank = down.shape[0]!;
      const scale = (await alpha!.item()) / rank;
      const change = erased[network]!.parameter(name).to("float64").sub(base[network]!.parameter(name).to("float64")); // prettier-ignore
      const added = up
        .reshape([-1, rank])
        .matmul(down.reshape([rank, -1]))
        .mul(scale);
      const expected = change.detach().reshape(added.shape);
      error += await added.sub(expected).square().sum().item();
      norm += await expected.square().sum().item();
      layers += 1;
    }
  }
  for (const tensor of stored.values()) tensor.dispose();
  expect(layers).toBeGreaterThan(0);
  return Math.sqrt(error / norm);
}

function withoutTime(erasure: Erasure): object[] {
  return erasure.history.map(({ iteration, iterations, losses }) => ({ iteration, iterations, losses }));
}
