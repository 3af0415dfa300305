import type { RunManifest } from "../../../lib/erasure/manifest";
import { modelCard } from "../../../lib/erasure/model-card";

const manifest = {
  method: "kpop",
  reference: "arXiv 2403.12326",
  concepts: ["church", "a | b\n# c"],
  preserve: [],
  iterations: 200,
  seed: 7,
  changedParameters: 32,
  versions: { "kpop-native": "0.1.0", libtorch: "2.13.0", node: "20.0.0" },
  finishedAt: "2026-01-01T00:00:00.000Z",
} as unknown as RunManifest;

describe("modelCard", () => {
  it("says what the model is, on one line each, and neither when nor where it was made", () => {
    const card = modelCard(manifest, "/home/someone/models/sd_v1");
    expect(card).toMatch(/^# sd\\_v1 without "church", "a \\\| b \\# c"\n/);
    expect(card.split("\n").filter((line) => /^\| \w/.test(line))).toEqual([
      "| base | sd\\_v1 |",
      '| erased | "church", "a \\| b \\# c" |',
      "| method | kpop, arXiv 2403.12326 |",
      "| run | 200 iterations, seed 7, 32 parameters changed |",
      "| made by | kpop-native 0.1.0, libtorch 2.13.0 |",
    ]);
    expect(card).not.toMatch(/2026|someone/);
  });

  it("names the first of the neighbours, and says how many there are", () => {
    const words = ["a", "b", "c", "d", "e", "f", "g", "h"];
    const line = (neighbours: string[]): string | undefined =>
      /^\| kept as neighbours \| (.*) \|$/m.exec(modelCard({ ...manifest, neighbours }, "sd"))?.[1];
    expect(line([])).toBeUndefined();
    expect(line(words.slice(0, 2))).toBe('"a", "b"');
    expect(line([...words, "i", "j"])).toBe(`${words.map((word) => `"${word}"`).join(", ")} and 2 more`);
  });
});
