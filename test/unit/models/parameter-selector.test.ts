import { readFileSync } from "node:fs";
import { selectParameters, type ParameterSelector } from "../../../lib/models/parameter-selector";
import { UNet2DConditionModel } from "../../../lib/models/unet";
import { golden } from "../../support/golden";

const NAMES = [
  "conv_in.weight",
  "time_embedding.linear_1.weight",
  "down_blocks.0.resnets.0.time_emb_proj.weight",
  "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k.weight",
  "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q.weight",
  "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight",
  "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v.weight",
  "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_out.0.bias",
  "conv_norm_out.weight",
  "conv_out.bias",
];
const picked = (selector: ParameterSelector): number[] =>
  selectParameters(selector, NAMES).map((name) => NAMES.indexOf(name));

describe("selectParameters", () => {
  it.each([
    ["xattn", [4, 5, 6, 7]],
    ["xattn-kv", [5, 6]],
    ["xattn-v", [6]],
    ["attn", [3, 4, 5, 6, 7]],
    ["selfattn", [3]],
    ["noxattn", [0, 2, 3]],
    ["full", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
    ["notime", [0, 2, 3, 4, 5, 6, 7]],
    ["esd-x", [4, 5, 6, 7]],
    ["esd-x-strict", [5, 6]],
    ["esd-u", [0, 1, 2, 3, 9]],
  ] as const)("%s is the scripts' group under diffusers' keys", (selector, expected) => {
    expect(picked(selector)).toEqual(expected);
  });

  it("ff-out is the second matrix of each feed-forward block, and no bias", () => {
    const block = "mid_block.attentions.0.transformer_blocks.0";
    const names = ["ff.net.0.proj.weight", "ff.net.2.weight", "ff.net.2.bias", "attn2.to_out.0.weight"];
    const keys = names.map((name) => `${block}.${name}`);
    expect(selectParameters("ff-out", keys)).toEqual([`${block}.ff.net.2.weight`]);
  });

  it("esd-u is every linear and convolutional layer without attn2: what has a matrix or kernel, and its bias", () => {
    for (const name of ["small", "wide"] as const) {
      const config = readFileSync(golden(name, "unet", "config.json"), "utf8");
      const unet = new UNet2DConditionModel(JSON.parse(config) as Record<string, unknown>);
      const shapes = unet.parameterShapes();
      const expected = unet.parameterNames().filter((key) => {
        const weight = shapes[key.replace(/\.[^.]*$/, ".weight")]!;
        return weight.length > 1 && !key.includes("attn2");
      });
      expect(expected.length).toBeGreaterThan(50);
      expect(selectParameters("esd-u", unet.parameterNames())).toEqual(expected);
      unet.dispose();
    }
  });

  // The scripts' modules are output_blocks.6.1 and .8.1, and input_blocks.4.1 and .7.1.
  it.each([
    ["xlayer", "attn2", ["up_blocks.2.attentions.0", "up_blocks.2.attentions.2"]],
    ["selflayer", "attn1", ["down_blocks.1.attentions.0", "down_blocks.2.attentions.0"]],
  ] as const)("%s is the attention of two of SD-1.4's sites", (selector, attention, sites) => {
    const places = [
      ...[0, 1, 2].flatMap((block) => [0, 1].map((i) => `down_blocks.${block}.attentions.${i}`)),
      "mid_block.attentions.0",
      ...[1, 2, 3].flatMap((block) => [0, 1, 2].map((i) => `up_blocks.${block}.attentions.${i}`)),
    ];
    const key = (site: string, layer: string): string => `${site}.transformer_blocks.0.${layer}.to_q.weight`;
    const all = places.flatMap((site) => [key(site, "attn1"), key(site, "attn2")]);
    expect(selectParameters(selector, all)).toEqual(sites.map((site) => key(site, attention)));
  });

  it("takes a pattern, whatever its flags, and a function of the key", () => {
    for (const pattern of [/attn2\.to_[qk]/, /attn2\.to_[qk]/g, /attn2\.to_[qk]/y])
      expect(picked(pattern)).toEqual([4, 5]);
    expect(picked((name) => name.endsWith(".bias"))).toEqual([7, 9]);
  });

  it("refuses a selector that selects nothing, and says of how many", () => {
    for (const selector of [/attn3/, () => false])
      expect(() => picked(selector)).toThrow(
        expect.objectContaining({
          code: "INVALID_ARGUMENT",
          message: expect.stringMatching(/at least one of the 10 parameters but .* selects none/),
        }),
      );
  });

  it("refuses what is no selector, listing those there are", () => {
    for (const selector of ["attention", "constructor", undefined, null, 5, ["xattn"]])
      expect(() => picked(selector as ParameterSelector)).toThrow(
        expect.objectContaining({
          code: "INVALID_ARGUMENT",
          message: expect.stringContaining("Expected parameters to be xattn, xattn-kv, xattn-v, attn, noxattn, selfattn, full"),
        }),
      );
  });
});
