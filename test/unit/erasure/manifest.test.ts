import { readFileSync } from "node:fs";
import { describeOptions, versions } from "../../../lib/erasure/manifest";
import { Tensor } from "../../../lib/runtime/tensor";

describe("describeOptions", () => {
  it("leaves what JSON can hold, and says of the rest what it was", () => {
    async function* source(): AsyncGenerator<number> {
      yield 1;
    }
    const described = describeOptions({
      iterations: 5,
      lambda: { from: 0, to: 1, shape: "linear" },
      learningRate: (i: number) => i / 2,
      parameters: /attn2\.to_k/i,
      prompt: { init: Tensor.zeros([2, 3]), layers: ["a", "b"] },
      latents: source(),
      templates: ["{}"],
    });
    expect(described).toEqual({
      iterations: 5,
      lambda: { from: 0, to: 1, shape: "linear" },
      learningRate: expect.stringMatching(/^function .*i \/ 2/) as string,
      parameters: "/attn2\\.to_k/i",
      prompt: { init: "tensor (2, 3)", layers: ["a", "b"] },
      latents: "custom",
      templates: ["{}"],
    });
    expect(JSON.parse(JSON.stringify(described))).toEqual(described);
  });
});

describe("versions", () => {
  it("are those of the library, libtorch and Node", () => {
    expect(versions()).toEqual({
      "kpop-native": (JSON.parse(readFileSync("package.json", "utf8")) as { version: string }).version,
      libtorch: expect.stringMatching(/^\d+\.\d+\.\d+/) as string,
      node: process.versions.node,
    });
  });
});
