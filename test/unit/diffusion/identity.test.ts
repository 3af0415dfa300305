import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  contentOf,
  digest,
  modelIdentity,
  optionsIdentity,
  textIdentity,
} from "../../../lib/diffusion/identity";
import type { Intervention } from "../../../lib/diffusion/interventions/intervention";
import { StableDiffusion } from "../../../lib/diffusion/stable-diffusion";
import { eap } from "../../../lib/erasure/methods/eap";
import { kpop } from "../../../lib/erasure/methods/kpop";
import { taskVector } from "../../../lib/erasure/methods/task-vector";
import { complete, type OptionSet } from "../../../lib/options/option";
import { addon } from "../../../lib/runtime/binding";
import { Tensor } from "../../../lib/runtime/tensor";
import { golden as goldenPath } from "../../support/golden";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { discPicture } from "../../support/pictures";
import { temporaryDirectory } from "../../support/temporary-directory";

const KEY = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight";

describe("the identity of a model", () => {
  let golden: GoldenModel;
  let before: string;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
    before = await print(golden.model);
  });
  afterAll(() => golden.dispose());
  const print = async (model: StableDiffusion): Promise<string> => digest(await modelIdentity(model));

  it("is the same for the same model, wherever it lies, and holds the versions of the library and of libtorch", async () => {
    using again = await StableDiffusion.load(goldenPath("small"), { device: "cpu" });
    expect(await print(again)).toBe(before);
    expect(await modelIdentity(again)).toMatchObject({
      versions: {
        "kpop-native": (JSON.parse(readFileSync("package.json", "utf8")) as { version: string }).version,
        libtorch: addon().builtForTorch,
      },
      device: "cpu",
      dtype: "float32",
    });
  });

  it("is another where weights in memory, the dtype or what changes its denoising are others", async () => {
    using changed = await golden.model.derive(new Set([KEY]), "float32");
    const weight = changed.unet.parameter(KEY);
    await weight.copyFrom(weight.detach().add(1e-6));
    using half = await StableDiffusion.load(golden.model.source.path, { device: "cpu", dtype: "bfloat16" });
    const intervention = (strength: number): Intervention => ({
      name: "test",
      version: 1,
      settings: { strength },
      prompts: [],
      start: () => ({ steer: ({ conditional }) => conditional, retained: [] }),
    });
    const prints = [
      before,
      await print(changed),
      await print(half),
      await print(golden.model.withInterventions([intervention(1)])),
      await print(golden.model.withInterventions([intervention(2)])),
    ];
    expect(new Set(prints).size).toBe(prints.length);
    expect(await print(golden.model)).toBe(before);
  });
});

describe("the identity of a model's texts", () => {
  it("is another where weights of its text encoder are others, and the same whatever its UNet's are", async () => {
    const golden = await loadGolden("small", { latents: 8 });
    const print = async (model: StableDiffusion): Promise<string> => digest(await textIdentity(model));
    const before = await print(golden.model);
    for (const [network, key] of [
      ["unet", KEY],
      ["textEncoder", "text_model.final_layer_norm.bias"],
    ] as const) {
      using changed = await golden.model.derive(new Set([key]), "float32", network);
      const weight = changed[network].parameter(key);
      await weight.copyFrom(weight.detach().add(1e-6));
      expect((await print(changed)) === before).toBe(network === "unet");
    }
    await golden.dispose();
  });
});

describe("the identity of options", () => {
  const print = async (method: { options: OptionSet }, given: object): Promise<string> => {
    const { options } = method;
    return digest(await optionsIdentity(options, complete(options, { ...given }, { concepts: ["church"] })));
  };

  it("goes by the contents of pictures, in memory or in files, and not by their size alone", async () => {
    const of = (picture: unknown) => print(taskVector, { pictures: { church: [picture] } });
    const [one, other] = [discPicture(16, 16, 0), discPicture(16, 16, 90)];
    expect(await of(discPicture(16, 16, 0))).toBe(await of(one));
    expect(await of(other)).not.toBe(await of(one));

    const path = join(temporaryDirectory(), "picture.png");
    writeFileSync(path, "first");
    const first = await of(path);
    expect(await of(path)).toBe(first);
    writeFileSync(path, "other");
    expect(await of(path)).not.toBe(first);
    await expect(of(`${path}.gone`)).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  it("goes by the contents of a file of words, and by the words themselves where there is a list of them", async () => {
    const of = (vocabulary: string | string[]) => print(eap, { vocabulary });
    const path = join(temporaryDirectory(), "words.txt");
    writeFileSync(path, "castle\ndog\n");
    const first = await of(path);
    writeFileSync(path, "castle\ncat\n");
    expect(await of(path)).not.toBe(first);
    await expect(of(`${path}.gone`)).rejects.toMatchObject({ code: "NOT_FOUND" });
    expect(await of(["castle", "dog"])).toBe(await of(["castle", "dog"]));
    expect(await of(["castle", "dog"])).not.toBe(await of(["castle", "cat"]));
  });

  it("goes by the elements, the shape and the dtype of tensors in a group", async () => {
    const of = (init: Tensor) => print(kpop, { prompt: { init } });
    const prints = [
      await of(Tensor.from([1, 2], [2, 1])),
      await of(Tensor.from([1, 3], [2, 1])),
      await of(Tensor.from([1, 2], [1, 2])),
      await of(Tensor.from([1, 2], [2, 1], { dtype: "float64" })),
      await print(kpop, {}),
    ];
    expect(new Set(prints).size).toBe(prints.length);
    expect(await of(Tensor.from([1, 2], [2, 1]))).toBe(prints[0]);
  });

  it("tells values apart that JSON does not", async () => {
    const values = [/a/, /a/i, (i: number) => i, (i: number) => 2 * i, NaN, Infinity, -Infinity, null];
    const prints = await Promise.all(values.map(async (value) => digest(await contentOf([value]))));
    expect(new Set(prints).size).toBe(values.length);
  });
});

describe("digest", () => {
  it("is the same for the same parts and another for others", () => {
    expect(digest({ seed: 1, options: { a: [1] } })).toBe(digest({ seed: 1, options: { a: [1] } }));
    expect(digest({ seed: 2, options: { a: [1] } })).not.toBe(digest({ seed: 1, options: { a: [1] } }));
  });
});
