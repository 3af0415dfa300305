import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readBaseCard } from "../../../lib/erasure/base-card";
import type { RunManifest } from "../../../lib/erasure/manifest";
import { modelCard } from "../../../lib/erasure/model-card";
import { temporaryDirectory } from "../../support/temporary-directory";

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
    expect(card).toMatch(/^# sd\\_v1 without "church", "a \\\| b \\# c"$/m);
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

  it("begins with what hubs read, and has a licence and a base there only where they are known", () => {
    expect(modelCard(manifest, "sd")).toMatch(
      /^---\nlibrary_name: diffusers\npipeline_tag: text-to-image\ntags:\n/,
    );
    const known = { licence: { license: "other", license_name: "ours" }, hubName: "user/sd" };
    const card = modelCard(manifest, "/cache/0123", known);
    expect(card).toMatch(
      /^---\nlicense: other\nlicense_name: ours\nbase_model: user\/sd\nbase_model_relation: finetune\nlibrary_name/,
    );
    expect(card).toMatch(/^# user\/sd without/m);
    expect(card).toContain("The terms of the base's licence (ours) hold for this model too.");
  });

  it("gives results as a model-index and as a table, with their intervals", () => {
    const interval = [52.94, 97.76] as const;
    const metrics = [
      { type: "esr-1", name: "ESR-1", value: 87.456, interval, total: 8 },
      { type: "clip-score", name: "CLIP score of erased classes", value: 20, interval: null, total: 1 },
    ];
    const details = { name: "no-church", results: [{ dataset: 'pictures of "a *"', metrics }] };
    const card = modelCard(manifest, "sd", details);
    expect(card).toContain(`model-index:
  - name: no-church
    results:
      - task:
          type: text-to-image
          name: Text-to-Image
        dataset:
          type: kpop-native-evaluate
          name: "pictures of \\"a *\\""
        metrics:
          - type: esr-1
            name: "ESR-1, 95 % interval 52.9 to 97.8"
            value: 87.5
          - type: clip-score
            name: "CLIP score of erased classes"
            value: 20
---
`);
    expect(card).toContain('pictures of "a \\*":');
    expect(card).toContain("| ESR-1 | 87.5 | 52.9 to 97.8 | 8 |");
    expect(card).toContain("| CLIP score of erased classes | 20.0 |  | 1 |");
    expect(card).not.toContain("Nothing was measured");
    expect(modelCard(manifest, "sd")).toContain("- Nothing was measured here.");
  });

  it("names its certificate", () => {
    const certificate = { file: "no_church.json", keyid: "ab" };
    expect(modelCard(manifest, "sd", { certificate })).toContain(
      "bound by no\\_church.json, signed with the Ed25519 key ab.",
    );
  });
});

describe("readBaseCard", () => {
  it("finds the licence in the base's card, and its name where it lies in the hub's cache", async () => {
    const snapshot = join(temporaryDirectory(), "models--CompVis--stable-diffusion-v1-4/snapshots/0123abcd");
    mkdirSync(snapshot, { recursive: true });
    expect(await readBaseCard(snapshot)).toEqual({ hubName: "CompVis/stable-diffusion-v1-4" });
    const card = "---\nlicense: other\nlicense_name: ours\nlicense_link: LICENSE\n---\n";
    writeFileSync(join(snapshot, "README.md"), card);
    expect((await readBaseCard(snapshot)).licence).toEqual({
      license: "other",
      license_name: "ours",
      license_link: "LICENSE",
    });
    expect(await readBaseCard(temporaryDirectory())).toEqual({});
    expect(await readBaseCard(join(temporaryDirectory(), "sd.safetensors"))).toEqual({});
  });
});
