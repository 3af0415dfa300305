import { jsonDifference } from "../../../lib/files/json-difference";

describe("jsonDifference", () => {
  it("is null for the same values, whatever the order of their keys", () => {
    expect(jsonDifference({ a: [1, { b: null }], c: "x" }, { c: "x", a: [1, { b: null }] })).toBeNull();
  });

  it.each<[string, unknown, unknown, object]>([
    ["a figure", { a: [{ b: 1 }] }, { a: [{ b: 2 }] }, { path: "a[0].b", first: "1", second: "2" }],
    ["a missing key", { a: 1 }, {}, { path: "a", first: "1", second: "nothing" }],
    ["a key too many", {}, { a: { b: 1 } }, { path: "a", first: "nothing", second: '{"b":1}' }],
    ["a longer list", { a: [1] }, { a: [1, 2] }, { path: "a", first: "[1]", second: "[1,2]" }],
    ["another kind", [1], { 0: 1 }, { path: "", first: "[1]", second: '{"0":1}' }],
    ["null", { a: null }, { a: 0 }, { path: "a", first: "null", second: "0" }],
  ])("tells %s, and where", (_, first, second, expected) => {
    expect(jsonDifference(first, second)).toEqual(expected);
  });

  it("cuts what it shows", () => {
    expect(jsonDifference("a".repeat(100), "b")!.first).toHaveLength(60);
  });
});
