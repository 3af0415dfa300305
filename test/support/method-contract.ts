import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StableDiffusion } from "../../lib/diffusion/stable-diffusion";
import { erase, type EraseOptions } from "../../lib/erasure/erase";
import type { Erasure } from "../../lib/erasure/erasure";
import { methodNamed } from "../../lib/erasure/registry";
import { selectParameters } from "../../lib/models/parameter-selector";
import type { UNet2DConditionModel } from "../../lib/models/unet";
import type { Tensor } from "../../lib/runtime/tensor";
import { loadGolden, type GoldenModel } from "./golden-model";

const CACHE = { cacheDirectory: join(tmpdir(), "kpop-contract-pictures") };

/** Options that make a run of a method short. */
const SHORT: Readonly<Record<string, object>> = {
  kpop: { iterations: 3, samplingSteps: 6, poolSize: 2, learningRate: 1e-3 },
  esd: { iterations: 3, samplingSteps: 6, poolSize: 2, learningRate: 1e-3 },
  uce: {},
  "task-vector": { iterations: 3, images: 2, samplingSteps: 2, batchSize: 2, learningRate: 1e-3, ...CACHE },
  ca: { iterations: 3, images: 2, samplingSteps: 2, batchSize: 2, learningRate: 1e-3 },
};

/** What every method owes, whatever it does: style.md's contract, run for each entry of the registry. */
export function describeMethod(name: string): void {
  describe(`method ${name}`, () => {
    let golden: GoldenModel;
    let folder: string;
    /** The input model before any run, and a run that most tests look at. */
    let before: Map<string, string>;
    let reference: Erasure;
    const options = (more: object = {}): EraseOptions =>
      ({ method: name, concepts: "church", seed: 5, ...SHORT[name], ...caching(), ...more }) as EraseOptions;
    const caching = (): object =>
      "cacheDirectory" in methodNamed(name).defaults ? { cacheDirectory: join(folder, "cache") } : {};

    beforeAll(async () => {
      golden = await loadGolden("small");
      folder = await mkdtemp(join(tmpdir(), "kpop-contract-"));
      before = await snapshot(golden.model.unet);
      reference = await erase(golden.model, options());
    });
    afterAll(async () => {
      reference.dispose();
      await golden.dispose();
      await rm(folder, { recursive: true, force: true });
    });

    it("changes only selected weights, some of them, and leaves the input model as it was", async () => {
      const after = await snapshot(reference.model.unet);
      const method = methodNamed(name);
      const parsed = method.parse(SHORT[name] as Record<string, unknown>, golden.model, ["church"]);
      const selected = new Set(
        selectParameters(method.parameters(parsed), golden.model.unet.parameterNames()),
      );
      const changed = [...after].filter(([key, bytes]) => bytes !== before.get(key)).map(([key]) => key);
      expect(changed.length).toBeGreaterThan(0);
      expect(changed.filter((key) => !selected.has(key))).toEqual([]);
      expect(await snapshot(golden.model.unet)).toEqual(before);
    });

    const deterministic = methodNamed(name).deterministic === true;
    const seeds = deterministic ? "any seed" : "the same seed, and others for another";
    it(`gives the same bits for ${seeds}`, async () => {
      const bits = async ({ model, key }: Erasure): Promise<Map<string, string>> => {
        const weights = await snapshot(model.unet);
        if (key !== undefined) weights.set("key", await hash(key.prompt));
        return weights;
      };
      const run = async (seed: number): Promise<Map<string, string>> => {
        const erasure = await erase(golden.model, options({ seed }));
        const found = await bits(erasure);
        erasure.dispose();
        // The result has weights of its own; freeing them leaves the input model alone.
        expect(await snapshot(golden.model.unet)).toEqual(before);
        return found;
      };
      const first = await bits(reference);
      expect(await run(5)).toEqual(first);
      const other = await run(6);
      if (deterministic) expect(other).toEqual(first);
      else expect(other).not.toEqual(first);
    });

    it("stops on abort within one step and leaves the input model as it was", async () => {
      const controller = new AbortController();
      let steps = 0;
      const onStep = (): void => {
        steps += 1;
        controller.abort();
      };
      const run = erase(golden.model, options({ signal: controller.signal, onStep }));
      await expect(run).rejects.toMatchObject({ name: "KpopError", code: "ABORTED" });
      expect(steps).toBe(1);
      expect(await snapshot(golden.model.unet)).toEqual(before);
    });

    it("saves a model that loads as the one in memory, whatever the format", async () => {
      await reference.save(join(folder, "diffusers"));
      await reference.save(join(folder, "single"), { format: "single-file" });
      for (const path of ["diffusers", "single/model.safetensors"]) {
        const loaded = await StableDiffusion.load(join(folder, path), { device: "cpu" });
        expect(await snapshot(loaded.unet)).toEqual(await snapshot(reference.model.unet));
        loaded.dispose();
      }
    });

    it("resumes from a saved state to the bits of a run that was not interrupted", async () => {
      const controller = new AbortController();
      const checkpoint = { directory: join(folder, "state"), every: 1 };
      const onStep = (): void => controller.abort();
      await expect(
        erase(golden.model, options({ checkpoint, signal: controller.signal, onStep })),
      ).rejects.toMatchObject({
        code: "ABORTED",
      });
      const resumed = await erase(golden.model, options({ checkpoint, resume: true }));
      expect(await snapshot(resumed.model.unet)).toEqual(await snapshot(reference.model.unet));
      expect(withoutTime(resumed)).toEqual(withoutTime(reference));
      resumed.dispose();
      // A closed form keeps no state that could be another run's.
      if (deterministic) return;
      const other = erase(golden.model, options({ checkpoint, resume: true, seed: 9 }));
      await expect(other).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
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
          name: "KpopError",
          code: "INVALID_ARGUMENT",
          message: expect.stringMatching(message) as string,
        });
      }
    });
  });
}

/** A hash of each parameter's bytes. */
async function snapshot(unet: UNet2DConditionModel): Promise<Map<string, string>> {
  const hashes = new Map<string, string>();
  for (const name of unet.parameterNames()) hashes.set(name, await hash(unet.parameter(name)));
  return hashes;
}

async function hash(tensor: Tensor): Promise<string> {
  return createHash("sha256")
    .update(await tensor.bytes())
    .digest("hex");
}

function withoutTime(erasure: Erasure): object[] {
  return erasure.history.map(({ iteration, iterations, losses }) => ({ iteration, iterations, losses }));
}
