import {
  boolean,
  fixed,
  ignored,
  layerCount,
  layersPerLevel,
  levels,
  number,
  perLevel,
  positiveInteger,
  readConfig,
  text,
  texts,
  type FieldRule,
} from "../../../lib/models/config";

const defaults = Object.freeze({ layers: 2, act: "silu" });
const rules: Record<string, FieldRule> = {
  layers: positiveInteger,
  act: text("silu", "gelu"),
  dropout: fixed(0),
  class_embed_type: fixed(),
  sample_size: ignored,
};
const read = (raw: Record<string, unknown>): object => readConfig("unet/config.json", raw, defaults, rules);

describe("readConfig", () => {
  it("lays a checkpoint's fields over the defaults", () => {
    expect(read({})).toEqual({ layers: 2, act: "silu" });
    expect(read({ layers: 3 })).toEqual({ layers: 3, act: "silu" });
  });

  it("passes over notes, ignored fields, supported values and null", () => {
    const raw = { _class_name: "UNet", sample_size: 64, dropout: 0, class_embed_type: null, layers: null };
    expect(read(raw)).toEqual({ layers: 2, act: "silu" });
    expect(read({ brand_new: null })).toEqual({ layers: 2, act: "silu" });
  });

  it.each([
    ["a field that is unknown", { brand_new: 1 }, 'unet/config.json: "brand_new" = 1 is not known here'],
    ["a name that every object has", { constructor: 1 }, '"constructor" = 1 is not known here'],
    ["another value than the supported", { dropout: 0.1 }, '"dropout" = 0.1 is supported only as 0'],
    ["a value where none is supported", { class_embed_type: "timestep" }, "is supported only as null"],
    ["a value of the wrong kind", { layers: "two" }, '"layers" = "two" should be a positive integer'],
    ["a choice outside the list", { act: "mish" }, '"act" = "mish" should be one of silu, gelu'],
  ])("refuses %s with UNSUPPORTED_MODEL", (_, raw, message) => {
    expect(() => read(raw)).toThrow(
      expect.objectContaining({
        name: "KpopError",
        code: "UNSUPPORTED_MODEL",
        message: expect.stringContaining(message),
      }),
    );
  });

  it("leaves the defaults as they are", () => {
    read({ layers: 9 });
    expect(defaults).toEqual({ layers: 2, act: "silu" });
  });
});

describe("field rules", () => {
  const accepts = (rule: FieldRule, value: unknown): boolean => rule.kind === "read" && rule.accept(value);

  it.each([
    ["positiveInteger", positiveInteger, [1, 320], [0, -1, 1.5, "1", [1], true]],
    ["layerCount", layerCount, [1, 300], [0, 301, 1e9, 1.5, [1]]],
    ["levels", levels, [[1], [320, 640]], [[], [0], [1.5], 1, ["1"], Array<number>(17).fill(8)]],
    ["layersPerLevel", layersPerLevel, [2, [1, 300]], [0, [], 1e8, [1, 1e8], "2"]],
    ["perLevel", perLevel, [2, [1, 2]], [0, [], [1, -2], "2"]],
    ["number", number, [0, -1, 1e-5], [NaN, Infinity, "0"]],
    ["boolean", boolean, [true, false], [0, 1, "true"]],
    ["text", text("a", "b"), ["a", "b"], ["c", ["a"], ""]],
    ["texts", texts("a", "b"), [["a"], ["b", "a", "a"]], [[], "a", ["a", "c"]]],
  ])("%s takes what it says and nothing else", (_, rule, good, bad) => {
    for (const value of good) expect([value, accepts(rule, value)]).toEqual([value, true]);
    for (const value of bad) expect([value, accepts(rule, value)]).toEqual([value, false]);
  });
});
