import { createHash } from "node:crypto";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ClipScorer } from "../../../lib/evaluation/clip-scorer";
import { ImageClassifier } from "../../../lib/evaluation/image-classifier";
import { judgeOf } from "../../../lib/evaluation/judge";
import { canonicalJson } from "../../../lib/files/canonical-json";
import * as safetensors from "../../../lib/io/safetensors";
import { BrightnessClassifier } from "../../support/brightness-classifier";
import { evaluationFixture } from "../../support/evaluation";
import { temporaryDirectory } from "../../support/temporary-directory";
import { saveClassifier } from "../../support/tiny-classifier";

/** SHA-256 over settings and a file's tensors, whose bytes are read by name. */
async function byFile(path: string, names: readonly string[], settings: unknown): Promise<string> {
  const hash = createHash("sha256").update(canonicalJson(settings));
  await using file = await safetensors.open(path);
  for (const name of [...names].sort()) {
    const dtype = name.endsWith("num_batches_tracked") ? "int64" : "float32";
    hash.update(`\n${JSON.stringify([name, dtype, file.shapes.get(name)])}\n`);
    hash.update(await file.readBytes(name));
  }
  return hash.digest("hex");
}

describe("a judge's hash", () => {
  it("of a ResNet is over its file's tensors, classes and preprocessing", async () => {
    const folder = temporaryDirectory();
    await saveClassifier(folder, ["church", "dog"]);
    using classifier = await ImageClassifier.load(folder);
    const { outputs, classes, preprocessing } = classifier;
    const path = join(folder, "model.safetensors");
    await using file = await safetensors.open(path);
    const config = { depth: 18, num_classes: outputs, width: 4, stem: "small" };
    const sha256 = await byFile(path, file.names, [config, [...classes], preprocessing]);
    expect(await classifier.hash()).toBe(sha256);
    expect(await judgeOf(classifier, undefined)).toEqual({ origin: folder, sha256 });
  });

  it("is the same wherever a classifier lies, and another with other weights, classes or preprocessing", async () => {
    const [folder, moved, renamed] = [temporaryDirectory(), temporaryDirectory(), temporaryDirectory()];
    await saveClassifier(folder, ["church", "dog"]);
    for (const copy of [moved, renamed]) cpSync(folder, copy, { recursive: true });
    const config = readFileSync(join(renamed, "config.json"), "utf8");
    writeFileSync(join(renamed, "config.json"), config.replace("church", "cat"));
    const hash = async (path: string, options = {}): Promise<string> => {
      using classifier = await ImageClassifier.load(path, options);
      return await classifier.hash();
    };
    const own = await hash(folder);
    expect(await hash(moved)).toBe(own);
    const bytes = readFileSync(join(moved, "model.safetensors"));
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(join(moved, "model.safetensors"), bytes);
    const others = [
      await hash(moved),
      await hash(renamed),
      await hash(folder, { preprocessing: { resize: 32 } }),
    ];
    expect(new Set([own, ...others]).size).toBe(4);
  });

  it("of CLIP is of its weights, and zero-shot of the texts too", async () => {
    using clip = await ClipScorer.load(evaluationFixture("clip"));
    const own = await clip.hash();
    expect(own).toMatch(/^[0-9a-f]{64}$/);
    const hash = (...given: Parameters<ClipScorer["zeroShot"]>) => clip.zeroShot(...given).hash();
    const hashes = [await hash(["a", "b"]), await hash(["b", "a"]), await hash(["a", "b"], "{}")];
    expect(new Set([own, ...hashes]).size).toBe(4);
    expect(await hash(["a", "b"])).toBe(hashes[0]);
  });

  it("is none where a classifier of one's own gives none, and is not computed after an abort", async () => {
    const own = new BrightnessClassifier(1);
    expect(await judgeOf(own, undefined)).toEqual({ origin: "the brightness classifier", sha256: null });
    await expect(judgeOf(own, AbortSignal.abort())).rejects.toMatchObject({ code: "ABORTED" });
  });
});
