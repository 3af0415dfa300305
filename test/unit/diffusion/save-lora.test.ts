import { join } from "node:path";
import { KpopError, safetensors, StableDiffusion, type Tensor } from "../../../lib/index";
import { Random } from "../../../lib/runtime/random";
import { loadFamily } from "../../support/family-model";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { temporaryDirectory } from "../../support/temporary-directory";

const LINEAR = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight";
const CONVOLUTION = "mid_block.resnets.0.conv1.weight";
const BIAS = "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0.bias";
const TEXT = "text_model.encoder.layers.0.self_attn.q_proj.weight";

describe("saving as a LoRA", () => {
  let golden: GoldenModel;
  let model: StableDiffusion;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());
  beforeEach(async () => {
    model = await StableDiffusion.load(golden.model.source.path, { device: "cpu" });
  });
  afterEach(() => model.dispose());
  const target = (): string => join(temporaryDirectory(), "lora.safetensors");
  const size = (tensor: Tensor): Promise<number> => tensor.square().sum().item();

  /** Adds a matrix of rank 2 to a weight. @returns what was added, as the weight's matrix */
  async function shift(parameter: Tensor, seed: number): Promise<Tensor> {
    const [rows, ...rest] = parameter.shape as [number, ...number[]];
    const columns = rest.reduce((product, length) => product * length, 1);
    const random = new Random(seed);
    const added = random
      .at("up")
      .normal([rows, 2])
      .matmul(random.at("down").normal([2, columns]))
      .mul(1e-2);
    await parameter.copyFrom(parameter.add(added.reshape(parameter.shape)));
    return added;
  }

  it("gives back changes of a small rank under kohya's keys, within float16", async () => {
    const changes = [
      ["lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", model.unet.parameter(LINEAR)],
      ["lora_unet_mid_block_resnets_0_conv1", model.unet.parameter(CONVOLUTION)],
      ["lora_te_text_model_encoder_layers_0_self_attn_q_proj", model.textEncoder.parameter(TEXT)],
    ] as const;
    const added = new Map<string, Tensor>();
    for (const [index, [name, parameter]] of changes.entries()) added.set(name, await shift(parameter, index));
    const path = target();
    await model.save(path, { format: "lora", rank: 4 });
    const found = await safetensors.load(path);
    expect([...found.keys()].sort()).toEqual(
      changes.flatMap(([name]) => ["alpha", "lora_down.weight", "lora_up.weight"].map((part) => `${name}.${part}`)).sort(),
    );
    for (const [name, change] of added) {
      const [up, down] = [found.get(`${name}.lora_up.weight`)!, found.get(`${name}.lora_down.weight`)!];
      const scale = (await found.get(`${name}.alpha`)!.item()) / down.shape[0]!;
      const [rows, columns] = change.shape as [number, number];
      const product = up.to("float32").reshape([rows, -1]).matmul(down.to("float32").reshape([-1, columns])).mul(scale);
      expect(await size(product.sub(change)) / (await size(change))).toBeLessThan(1e-6);
    }
    const convolution = changes[1][1].shape;
    expect(found.get(`${changes[1][0]}.lora_down.weight`)!.shape).toEqual([4, ...convolution.slice(1)]);
    expect(found.get(`${changes[1][0]}.lora_up.weight`)!.shape).toEqual([convolution[0], 4, 1, 1]);
    await using file = await safetensors.open(path);
    expect(Number(file.metadata["kpop.kept"])).toBeCloseTo(1, 6);
    expect(file.metadata).toMatchObject({ ss_network_dim: "4", "kpop.left_out": "[]" });
  }); // prettier-ignore

  it.each([
    ["epsilon", "sd_v2"],
    ["v_prediction", "sd_v2_v"],
  ])("says of a 2.x model of %s that it is one, as tools tell by %s", async (prediction_type, version) => {
    const reference = await loadFamily("v2", { latents: 8, scheduler: { prediction_type } });
    await shift(reference.model.unet.parameter(LINEAR), 1);
    const path = target();
    await reference.model.save(path, { format: "lora", rank: 2 });
    await using file = await safetensors.open(path);
    expect(file.metadata).toMatchObject({ ss_base_model_version: version, ss_v2: "True" });
    await reference.dispose();
  });

  it("says what it leaves out, and how much a rank keeps", async () => {
    await shift(model.unet.parameter(LINEAR), 0);
    await model.unet.parameter(BIAS).copyFrom(model.unet.parameter(BIAS).add(1e-3));
    const path = target();
    await model.save(path, { format: "lora", rank: 1 });
    await using file = await safetensors.open(path);
    expect(JSON.parse(file.metadata["kpop.left_out"]!)).toEqual([`unet.${BIAS}`]);
    const kept = Number(file.metadata["kpop.kept"]);
    expect(kept).toBeGreaterThan(0.5);
    expect(kept).toBeLessThan(0.999);
  });

  it("counts what it leaves out as change that it does not keep, and names only what changed", async () => {
    const change = await size(await shift(model.unet.parameter(LINEAR), 0));
    const bias = model.unet.parameter(BIAS);
    await bias.copyFrom(bias.add(0.5));
    await model.unet.parameter("conv_in.bias").copyFrom(model.unet.parameter("conv_in.bias"));
    const path = target();
    await model.save(path, { format: "lora", rank: 2 });
    await using file = await safetensors.open(path);
    expect(JSON.parse(file.metadata["kpop.left_out"]!)).toEqual([`unet.${BIAS}`]);
    const expected = change / (change + 0.25 * bias.size);
    expect(Number(file.metadata["kpop.kept"]) / expected).toBeCloseTo(1, 4);
  });

  it("gives every layer one alpha, whatever rank it has room for", async () => {
    // The second has four outputs, which leave no room for rank 16.
    const names = ["lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", "lora_unet_conv_out"];
    const added = [await shift(model.unet.parameter(LINEAR), 0), await shift(model.unet.parameter("conv_out.weight"), 1)];
    const path = target();
    await model.save(path, { format: "lora", rank: 16 });
    const found = await safetensors.load(path);
    const ranks: number[] = [];
    for (const [index, name] of names.entries()) {
      const [up, down] = [found.get(`${name}.lora_up.weight`)!, found.get(`${name}.lora_down.weight`)!];
      ranks.push(down.shape[0]!);
      expect(await found.get(`${name}.alpha`)!.item()).toBe(16);
      const [rows, columns] = added[index]!.shape as [number, number];
      const product = up.to("float32").reshape([rows, -1]).matmul(down.to("float32").reshape([-1, columns])).mul(16 / ranks[index]!);
      expect(await size(product.sub(added[index]!)) / (await size(added[index]!))).toBeLessThan(1e-5);
    }
    expect(ranks).toEqual([16, 4]);
    await using file = await safetensors.open(path);
    expect(file.metadata).toMatchObject({ ss_network_dim: "16", ss_network_alpha: "16" });
  }); // prettier-ignore

  it("refuses what no LoRA can hold, and writes nothing", async () => {
    const path = target();
    const refused = (sentence: string): unknown => expect.objectContaining({ name: "KpopError", code: "UNSUPPORTED_FORMAT", message: expect.stringContaining(sentence) as string }); // prettier-ignore
    await expect(model.save(path, { format: "lora" })).rejects.toEqual(refused("no layer of the networks"));
    const words = model.textEncoder.parameter("text_model.embeddings.token_embedding.weight");
    await words.copyFrom(words.add(1));
    await expect(model.save(path, { format: "lora" })).rejects.toEqual(refused("text_encoder.text_model.embeddings.token_embedding.weight")); // prettier-ignore
    await expect(safetensors.open(path)).rejects.toBeInstanceOf(KpopError);
  });

  it("refuses a weight that is not a number, and writes nothing", async () => {
    const parameter = model.unet.parameter(LINEAR);
    await parameter.copyFrom(parameter.mul(NaN));
    const path = target();
    await expect(model.save(path, { format: "lora" })).rejects.toMatchObject({
      code: "NUMERIC_FAILURE",
      message: `The change of unet.${LINEAR} is not finite, so no LoRA comes near it`,
    });
    await expect(safetensors.open(path)).rejects.toBeInstanceOf(KpopError);
  });

  it.each([
    [{ format: "delta", rank: 4 }, "rank"],
    [{ format: "lora", rank: 0 }, "rank"],
    [{ format: "lora", rank: 1.5 }, "rank"],
  ] as const)("refuses the options %j", async (options, name) => {
    await expect(model.save(target(), options)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(`Expected ${name}`) as string,
    });
  });
});
