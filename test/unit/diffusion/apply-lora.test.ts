import { join } from "node:path";
import { applyLora, safetensors, StableDiffusion, Tensor } from "../../../lib/index";
import { inspect } from "../../../lib/io/inspect";
import { Random } from "../../../lib/runtime/random";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { weightHashes } from "../../support/hashes";
import { temporaryDirectory } from "../../support/temporary-directory";

const LINEAR = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight";
const CONVOLUTION = "mid_block.resnets.0.conv1.weight";
const TEXT = "text_model.encoder.layers.0.self_attn.q_proj.weight";
const MODULE = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k";

describe("applyLora", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());
  const target = (): string => join(temporaryDirectory(), "lora.safetensors");
  const size = (tensor: Tensor): Promise<number> => tensor.square().sum().item();
  /** The weights that the tests change. */
  const layers = ({ unet, textEncoder }: StableDiffusion): Tensor[] => [
    unet.parameter(LINEAR),
    unet.parameter(CONVOLUTION),
    textEncoder.parameter(TEXT),
  ];

  /** Writes a LoRA of one layer, (rows, r) and (r, columns) of `down`'s shape, with an alpha where it is given. */
  async function write(up: Tensor, down: Tensor, alpha?: number, module = MODULE): Promise<string> {
    const path = target();
    const tensors = new Map([
      [`${module}.lora_up.weight`, up],
      [`${module}.lora_down.weight`, down],
    ]);
    if (alpha !== undefined) tensors.set(`${module}.alpha`, Tensor.from([alpha], [1]));
    await safetensors.save(path, tensors);
    return path;
  }

  it("refuses a disposed model as one", async () => {
    const model = await StableDiffusion.load(golden.model.source.path, { device: "cpu" });
    model.dispose();
    const path = await write(Tensor.zeros([8, 1]), Tensor.zeros([1, 8]));
    await expect(applyLora(model, path)).rejects.toMatchObject({ code: "DISPOSED" });
  });

  it("gives the model that a LoRA was made of, within float16, and leaves the base as it was", async () => {
    const random = new Random(1);
    using trained = await StableDiffusion.load(golden.model.source.path, { device: "cpu" });
    const changes: Tensor[] = [];
    for (const [i, weight] of layers(trained).entries()) {
      const [rows, ...rest] = weight.shape as [number, ...number[]];
      const columns = rest.reduce((product, length) => product * length, 1);
      const factors = [
        random.at("up", i).normal([rows, 2]),
        random.at("down", i).normal([2, columns]),
      ] as const;
      changes.push(factors[0].matmul(factors[1]).mul(1e-2).reshape(weight.shape));
      await weight.copyFrom(weight.add(changes[i]!));
    }
    const path = target();
    await trained.save(path, { format: "lora", rank: 2 });
    expect(await inspect(path)).toMatchObject({
      kind: "lora",
      layers: { unet: 2, textEncoder: 1 },
      ranks: [2, 2],
      leftOut: [],
    });

    const before = await weightHashes(golden.model.unet);
    for (const strength of [1, -0.5]) {
      using applied = await applyLora(golden.model, path, { strength });
      for (const [i, weight] of layers(applied).entries()) {
        const expected = changes[i]!.mul(strength);
        const error = weight.sub(layers(golden.model)[i]!).sub(expected);
        expect((await size(error)) / (await size(expected))).toBeLessThan(1e-6);
      }
      const folder = join(temporaryDirectory(), "saved");
      await applied.save(folder);
      using loaded = await StableDiffusion.load(folder, { device: "cpu" });
      const difference = layers(loaded)[2]!.sub(layers(applied)[2]!);
      expect((await size(difference)) / (await size(layers(applied)[2]!))).toBeLessThan(1e-6);
    }
    expect(await weightHashes(golden.model.unet)).toEqual(before);
  });

  it("scales by alpha over the rank, and by one without an alpha", async () => {
    const [rows, columns] = golden.model.unet.parameter(LINEAR).shape as [number, number];
    const [up, down] = [Tensor.from(new Float32Array(rows * 4).fill(1), [rows, 4]), Tensor.from(new Float32Array(4 * columns).fill(0.5), [4, columns])]; // prettier-ignore
    for (const [alpha, expected] of [
      [undefined, 2],
      [1, 0.5],
      [8, 4],
    ] as const) {
      using applied = await applyLora(golden.model, await write(up, down, alpha));
      const change = applied.unet.parameter(LINEAR).sub(golden.model.unet.parameter(LINEAR));
      expect(await size(change.sub(expected))).toBeLessThan(1e-6);
    }
  });

  it("refuses what does not fit, with what there is", async () => {
    const [rows, columns] = golden.model.unet.parameter(LINEAR).shape as [number, number];
    const matrix = (m: number, n: number, value = 1): Tensor => Tensor.from(new Float32Array(m * n).fill(value), [m, n]); // prettier-ignore
    const refused = async (path: string, code: string, sentence: RegExp): Promise<void> => {
      await expect(applyLora(golden.model, path)).rejects.toMatchObject({
        name: "KpopError",
        code,
        message: expect.stringMatching(sentence) as string,
      });
    };
    const good = matrix(rows, 2);
    await refused(await write(matrix(rows + 1, 2), matrix(2, columns)), "INVALID_CHECKPOINT", /factors of \(\d+, r\) and \(r, \d+\)/); // prettier-ignore
    await refused(await write(good, matrix(3, columns)), "INVALID_CHECKPOINT", /factors of/);
    await refused(await write(good, matrix(2, columns, NaN)), "NUMERIC_FAILURE", /not finite/);
    const elsewhere = await write(good, matrix(2, columns), 1, "lora_unet_nowhere");
    await refused(elsewhere, "INVALID_CHECKPOINT", /another model: it has 1 layer that this one lacks \(lora_unet_nowhere\)/); // prettier-ignore
    const other = target();
    await safetensors.save(other, new Map([[`${MODULE}.hada_w1_a`, good]]));
    await refused(other, "UNSUPPORTED_FORMAT", /no LoRA under kohya's keys .* 1 other tensor/);
    await refused(join(temporaryDirectory(), "none.safetensors"), "NOT_FOUND", /none/);
    await expect(applyLora(golden.model, other, { strength: NaN })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" }); // prettier-ignore
  });
});
