import { readFileSync } from "node:fs";
import { join } from "node:path";
import { textKeyMap, unetKeyMap, vaeKeyMap } from "../../../lib/io/ldm-keys";
import type { TensorLocation } from "../../../lib/io/checkpoint-types";
import type { KeyMap } from "../../../lib/io/key-map";
import { openClipNames, placeOpenClip } from "../../../lib/io/open-clip-keys";

/** [original key, diffusers key] of every parameter; made by test/fixtures/ldm-keys/make_pairs.py with diffusers. */
function pairs(name: string): [string, string][] {
  const text = readFileSync(join(__dirname, "../../fixtures/ldm-keys", `${name}.tsv`), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .flatMap((line) => {
      const [there, here, leaves] = line.split("\t") as [string, string, string];
      return leaves.split(" ").map((leaf): [string, string] => [`${there}.${leaf}`, `${here}.${leaf}`]);
    });
}

const unetConfig = (attention: boolean[], layers: number | number[]) => ({
  layers_per_block: layers,
  down_block_types: attention.map((a) => (a ? "CrossAttnDownBlock2D" : "DownBlock2D")),
  up_block_types: attention.map((a) => (a ? "CrossAttnUpBlock2D" : "UpBlock2D")).reverse(),
});
const vaeConfig = (levels: number, layers: number) => ({
  layers_per_block: layers,
  down_block_types: Array<string>(levels).fill("DownEncoderBlock2D"),
});

describe("keys of single-file checkpoints", () => {
  it.each<[string, number, KeyMap]>([
    ["sd14-unet", 686, unetKeyMap(unetConfig([true, true, true, false], 2))],
    ["sd14-vae", 248, vaeKeyMap(vaeConfig(4, 2))],
    ["small-unet", 324, unetKeyMap(unetConfig([true, true, false], 1))],
    ["small-vae", 152, vaeKeyMap(vaeConfig(3, 1))],
    ["xl-unet", 838, unetKeyMap({ ...unetConfig([false, true, true], 2), addition_embed_type: "text_time" })],
  ])("map as in diffusers, both ways: %s, %i parameters", (name, count, map) => {
    const expected = pairs(name);
    expect(expected).toHaveLength(count);
    expect(expected.map(([there]) => [there, map.toHere(there)])).toEqual(expected);
    expect(expected.map(([, here]) => [map.toThere(here), here])).toEqual(expected);
  });

  it("follow a number of layers given for each level", () => {
    const map = unetKeyMap(unetConfig([true, false], [1, 3]));
    expect(map.toHere("input_blocks.2.0.op.weight")).toBe("down_blocks.0.downsamplers.0.conv.weight");
    expect(map.toHere("input_blocks.5.0.in_layers.0.bias")).toBe("down_blocks.1.resnets.2.norm1.bias");
    expect(map.toHere("output_blocks.3.1.conv.bias")).toBe("up_blocks.0.upsamplers.0.conv.bias");
    expect(map.toHere("output_blocks.5.1.proj_in.bias")).toBe("up_blocks.1.attentions.1.proj_in.bias");
  });

  it("stay unmapped where the config has no place for them", () => {
    const map = unetKeyMap(unetConfig([true, true, false], 1));
    expect(map.toHere("input_blocks.9.0.in_layers.0.weight")).toBeNull();
    expect(map.toHere("label_emb.0.0.weight")).toBeNull();
    expect(map.toHere("input_blocks.1.0.unknown.weight")).toBeNull();
    expect(map.toHere("outer.weight")).toBeNull();
  });

  it("of the text encoder get the layer that some files leave out", () => {
    expect(textKeyMap(true).toHere("text_model.final_layer_norm.bias")).toBe(
      "text_model.final_layer_norm.bias",
    );
    expect(textKeyMap(false).toHere("final_layer_norm.bias")).toBe("text_model.final_layer_norm.bias");
    expect(textKeyMap(false).toThere("text_model.encoder.layers.0.x")).toBe("encoder.layers.0.x");
  });

  it("of OpenCLIP's text encoder name parts of tensors and transposes, as in diffusers, both ways", () => {
    const [width, prefix] = [8, "conditioner.embedders.1.model."];
    const lines = readFileSync(join(__dirname, "../../fixtures/ldm-keys/open-clip.tsv"), "utf8")
      .trimEnd()
      .split("\n");
    const expected = lines.map((line) => line.split("\t") as [string, string, string]);
    expect(expected).toHaveLength(53);
    const shapeOf = (key: string): number[] =>
      key === "text_projection"
        ? [width, 6]
        : key.includes("in_proj")
          ? [3 * width, ...(key.endsWith("bias") ? [] : [width])]
          : [width];
    const stored = [...new Set(expected.map(([there]) => there)), "logit_scale", "attn_mask"].map((key) => {
      const shape = shapeOf(key);
      const bytes = 4 * shape.reduce((product, size) => product * size, 1);
      return {
        key: prefix + key,
        shape,
        storedShape: shape,
        offset: 1000,
        bytes,
        dtype: "F32",
        file: "x",
        stamp: {},
      };
    }) as unknown as TensorLocation[];
    const { tensors, extra } = placeOpenClip(stored, { prefix, layers: 3, projects: true });
    expect([...extra.keys()]).toEqual([`${prefix}logit_scale`, `${prefix}attn_mask`]);
    const namesOf = openClipNames(3);
    for (const [there, here, how] of expected) {
      const found = tensors.get(here)!;
      expect(found.key).toBe(prefix + there);
      const row = found.bytes / found.shape[0]!;
      const from = (found.offset - 1000) / row;
      const whole = found.shape.join() === shapeOf(there).join();
      const part = found.transposed === true ? "T" : whole ? "all" : `${from}:${from + found.shape[0]!}`;
      expect([here, part]).toEqual([here, how]);
      const name = namesOf(here)!;
      expect([name.name, name.part, name.transposed]).toEqual([
        there,
        /^\d/.test(how) ? from / width : undefined,
        how === "T" ? true : undefined,
      ]);
    }
    expect(tensors.size).toBe(expected.length);
    expect(namesOf("text_model.embeddings.position_ids")).toBeNull();
  });

  it("of Stable Diffusion 2's text encoder leave out the layer that its network does without", () => {
    const key = (layer: number): TensorLocation =>
      ({
        ...{ key: `transformer.resblocks.${layer}.attn.in_proj_weight`, storedShape: [6, 2] },
        ...{ bytes: 48, offset: 0 },
      }) as unknown as TensorLocation;
    const placed = placeOpenClip([0, 1, 2].map(key), { prefix: "", layers: 2, projects: false });
    expect(placed.tensors.size).toBe(6);
    expect([...placed.extra.keys()]).toEqual(["transformer.resblocks.2.attn.in_proj_weight"]);
    const wrong = { ...key(0), storedShape: [5, 2] };
    expect(() => placeOpenClip([wrong], { prefix: "", layers: 1, projects: false })).toThrow(
      expect.objectContaining({ code: "INVALID_CHECKPOINT" }),
    );
  });

  it.each([{}, { down_block_types: [], up_block_types: ["a"] }, { ...unetConfig([true], 0) }])(
    "cannot be told from a config without the blocks: %j",
    (config) => {
      expect(() => unetKeyMap(config)).toThrow(expect.objectContaining({ code: "INVALID_CHECKPOINT" }));
    },
  );
});
