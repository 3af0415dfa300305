import { encodeHeader, parseHeader } from "../../../lib/io/safetensors-header";
import { plainHeader } from "../../../lib/io/plain-header";

/** As the format's own writer spells it (safetensors 0.8.0, Python). */
const WRITTEN =
  '{"__metadata__":{"format":"pt"},"b.weight":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"a":{"dtype":"BF16","shape":[],"data_offsets":[8,10]}}      ';

const entry = (start: number, end: number): string =>
  `{"dtype":"U8","shape":[${end - start}],"data_offsets":[${start},${end}]}`;

describe("plainHeader", () => {
  it("reads what the format's writers write", () => {
    const { entries, metadata } = plainHeader(WRITTEN)!;
    expect([...entries]).toEqual([
      ["b.weight", { dtype: "F32", shape: [2, 1], data_offsets: [0, 8] }],
      ["a", { dtype: "BF16", shape: [], data_offsets: [8, 10] }],
    ]);
    expect(metadata).toEqual({ format: "pt" });
    const tensors = [{ name: "é", dtype: "F32", shape: [0, 3], byteLength: 0 }] as const;
    const own = encodeHeader(tensors, new Map([["a", "b"]])).subarray(8);
    expect([...plainHeader(new TextDecoder().decode(own))!.entries]).toHaveLength(1);
  });

  it.each([
    ["an empty header", "{}"],
    ["a space between tokens", WRITTEN.replace(":[0,8]", ": [0,8]")],
    ["an escape in a name", WRITTEN.replace("b.weight", "\\u0062")],
    ["fields in another order", '{"a":{"shape":[],"dtype":"U8","data_offsets":[0,1]}}'],
    ["a field more", WRITTEN.replace("[8,10]}", '[8,10],"x":0}')],
    ["a field given twice", '{"a":{"dtype":"U8","shape":[1],"shape":[2],"data_offsets":[0,2]}}'],
    ["a name given twice", `{"a":${entry(0, 1)},"a":${entry(1, 2)}}`],
    ["metadata behind a tensor", `{"a":${entry(0, 1)},"__metadata__":{}}`],
    ["a tensor called __metadata__", `{"a":${entry(0, 1)},"__metadata__":${entry(1, 2)}}`],
    ["a metadata key given twice", `{"__metadata__":{"k":"1","k":"2"},"a":${entry(0, 1)}}`],
    ["metadata that is no JSON", `{"__metadata__":{"k"},"a":${entry(0, 1)}}`],
    ["metadata with a brace", `{"__metadata__":{"k":"}"},"a":${entry(0, 1)}}`],
    ["a leading zero", WRITTEN.replace("[2,1]", "[02,1]")],
    ["a negative size", WRITTEN.replace("[2,1]", "[-2,1]")],
    ["a number of 17 digits", WRITTEN.replace("[2,1]", "[10000000000000000,1]")],
    ["a comma at the end", WRITTEN.replace("}}  ", "},} ")],
    ["no end", WRITTEN.replace("}}  ", "}   ")],
    ["text behind the end", WRITTEN + "x"],
    ["more than it looks at", `${WRITTEN}${" ".repeat(2 ** 20)}`],
  ])("leaves %s to the parser", (_, text) => {
    expect(plainHeader(text)).toBeNull();
  });

  it("changes nothing of what a file is read as", () => {
    const parse = (text: string) => {
      const json = new TextEncoder().encode(text);
      return parseHeader(json, 8 + json.length + 10, "x.safetensors");
    };
    const spaced = WRITTEN.replace('"b.', ' "b.').replace("}}  ", "}} ");
    expect(plainHeader(spaced)).toBeNull();
    const [plain, other] = [parse(WRITTEN), parse(spaced)];
    expect([...plain.tensors]).toEqual([...other.tensors]);
    expect([...plain.metadata]).toEqual([...other.metadata]);
  });
});
