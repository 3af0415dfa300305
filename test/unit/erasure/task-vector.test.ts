import { join } from "node:path";
import { hashUNet } from "../../../lib/diffusion/model-hash";
import { artefactNames, TaskVector } from "../../../lib/erasure/task-vector";
import * as safetensors from "../../../lib/io/safetensors";
import { Random } from "../../../lib/runtime/random";
import { Tensor } from "../../../lib/runtime/tensor";
import { relativeError } from "../../support/compare";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { weightHashes } from "../../support/hashes";
import { temporaryDirectory } from "../../support/temporary-directory";

const KEYS = ["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", "conv_in.weight"];

describe("names of a run's task vectors", () => {
  it.each<[string, string[], string[]]>([
    ["are their concepts'", ["Old Church", "dog"], ["task-vector-old-church", "task-vector-dog"]],
    [
      "have a number where the words are the same",
      ["red car", "Red-Car", "dog", "red  car!"],
      ["task-vector-red-car", "task-vector-red-car-2", "task-vector-dog", "task-vector-red-car-3"],
    ],
    ["have one where there are no words", ["🐱", "🐶"], ["task-vector", "task-vector-2"]],
    [
      "take no number that is another concept's own",
      ["red car", "red-car", "red car 2", "red-car-2"],
      ["task-vector-red-car", "task-vector-red-car-3", "task-vector-red-car-2", "task-vector-red-car-2-2"],
    ],
  ])("%s", (_, concepts, names) => {
    expect(artefactNames(concepts)).toEqual(names);
  });
});

describe("TaskVector", () => {
  let golden: GoldenModel;
  let base: string;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
    base = await hashUNet(golden.model);
  });
  afterAll(() => golden.dispose());

  const vector = (keys: readonly string[], seed = 1, concept = "church"): TaskVector =>
    new TaskVector({
      parameters: new Map(
        keys.map((key) => [key, new Random(seed).at(key).normal(golden.model.unet.parameter(key).shape)]),
      ),
      base,
      concepts: [concept],
    });
  const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);

  it.each([1, 0.25, -2])("gives θ − α τ for α = %d, and the model as it was elsewhere", async (alpha) => {
    const tau = vector(KEYS);
    const before = await weightHashes(golden.model.unet);
    const edited = await tau.apply(golden.model, { alpha });
    const after = await weightHashes(edited.unet);
    const changed = Object.keys(after).filter((key) => after[key] !== before[key]);
    expect(changed.sort()).toEqual([...KEYS].sort());
    for (const key of KEYS) {
      const [theta, t, actual] = await Promise.all(
        [golden.model.unet.parameter(key), tau.parameters.get(key)!, edited.unet.parameter(key)].map(numbers),
      );
      actual!.forEach((x, i) => expect(x).toBeCloseTo(theta![i]! - alpha * t![i]!, 5));
    }
    edited.dispose();
    expect(await weightHashes(golden.model.unet)).toEqual(before);
  });

  it("applies only the parameters that a selector takes", async () => {
    const before = await weightHashes(golden.model.unet);
    const edited = await vector(KEYS).apply(golden.model, { parameters: "xattn-kv" });
    const after = await weightHashes(edited.unet);
    expect(Object.keys(after).filter((key) => after[key] !== before[key])).toEqual([KEYS[0]]);
    edited.dispose();
    await expect(vector([KEYS[1]!]).apply(golden.model, { parameters: "xattn" })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("parameters") as string,
    });
  });

  it("adds over the parameters of both, and scales", async () => {
    const [a, b] = [vector(KEYS, 1), vector([KEYS[1]!], 2, "dog")];
    const sum = a.add(b.scale(-0.5));
    expect(sum.concepts).toEqual(["church", "dog"]);
    const [x, y, z] = await Promise.all([a, b, sum].map((v) => numbers(v.parameters.get(KEYS[1]!)!)));
    z!.forEach((value, i) => expect(value).toBeCloseTo(x![i]! - 0.5 * y![i]!, 5));
    expect(await relativeError(sum.parameters.get(KEYS[0]!)!, a.parameters.get(KEYS[0]!)!)).toBe(0);
    // The summands go without taking the sum along.
    a.dispose();
    b.dispose();
    await expect(sum.parameters.get(KEYS[0]!)!.data()).resolves.toBeDefined();
  });

  it.each([
    ["float32", 0],
    ["float16", 1e-3],
    ["bfloat16", 1e-2],
  ] as const)("loads what it saved in %s, within %d", async (dtype, tolerance) => {
    const path = join(temporaryDirectory(), "tau.safetensors");
    const tau = vector(KEYS);
    await tau.save(path, { dtype });
    const loaded = await TaskVector.load(path);
    expect(loaded).toMatchObject({ base, concepts: ["church"] });
    expect([...loaded.parameters.keys()].sort()).toEqual([...KEYS].sort());
    for (const [key, tensor] of loaded.parameters) {
      expect(tensor.dtype).toBe("float32");
      expect(await relativeError(tensor, tau.parameters.get(key)!)).toBeLessThanOrEqual(tolerance);
    }
    const edited = await loaded.apply(golden.model);
    edited.dispose();
  });

  it("refuses another base: other weights, or the same ones after a change", async () => {
    const tau = vector(KEYS);
    const edited = await tau.apply(golden.model);
    const message = expect.stringContaining("Expected the model that this task vector starts from") as string;
    await expect(tau.apply(edited)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message });
    edited.dispose();
    const foreign = new TaskVector({ parameters: tau.parameters, base: "0".repeat(64), concepts: ["x"] });
    await expect(foreign.apply(golden.model)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message });
    expect(() => tau.add(foreign)).toThrow(/of one base/);
  });

  it("refuses files that hold something else, or a damaged record", async () => {
    const path = join(temporaryDirectory(), "other.safetensors");
    await safetensors.save(path, { a: Tensor.zeros([1]) });
    const refused = { code: "UNSUPPORTED_FORMAT", message: expect.stringContaining(path) as string };
    await expect(TaskVector.load(path)).rejects.toMatchObject(refused);
    await safetensors.save(path, { a: Tensor.zeros([1]) }, { format: "kpop-task-vector-1", concepts: "[" });
    await expect(TaskVector.load(path)).rejects.toMatchObject(refused);
  });

  it("refuses strengths that are no numbers, and unknown options", async () => {
    const tau = vector(KEYS);
    expect(() => tau.scale(NaN)).toThrow(/factor/);
    expect(() => tau.add({} as TaskVector)).toThrow(/TaskVector/);
    await expect(tau.apply(golden.model, { alpha: Infinity })).rejects.toThrow(/alpha/);
    await expect(tau.apply(golden.model, { beta: 1 } as object)).rejects.toThrow(/"beta"/);
  });
});
