import { selectParameters, type ParameterSelector } from "../../../lib/models/parameter-selector";

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
    ["selfattn", [3]],
    ["noxattn", [0, 2, 3]],
    ["full", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
  ] as const)("%s is ESD's group under diffusers' keys", (selector, expected) => {
    expect(picked(selector)).toEqual(expected);
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
    for (const selector of ["attention", "constructor", undefined, null, 5, ["attn2"]])
      expect(() => picked(selector as ParameterSelector)).toThrow(
        expect.objectContaining({
          code: "INVALID_ARGUMENT",
          message: expect.stringContaining("Expected parameters to be xattn, xattn-kv, noxattn, selfattn, full"),
        }),
      );
  });
});
