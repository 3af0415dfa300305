import { cpSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { certify } from "../../../lib/certificate/certify";
import type { ErasureCertificate } from "../../../lib/certificate/statement";
import { verify, type VerifyOptions } from "../../../lib/certificate/verify";
import type { Verification } from "../../../lib/certificate/verification";
import { ClipScorer } from "../../../lib/evaluation/clip-scorer";
import { StableDiffusion } from "../../../lib/diffusion/stable-diffusion";
import { evaluate } from "../../../lib/evaluation/evaluate";
import { summarize } from "../../../lib/evaluation/summarize";
import { erase } from "../../../lib/erasure/erase";
import { merkleRoot } from "../../../lib/files/merkle-tree";
import { certifiableErasure, signAnew, type CertifiableErasure } from "../../support/certified-erasure";
import { BrightnessClassifier } from "../../support/brightness-classifier";
import { evaluationFixture } from "../../support/evaluation";
import { temporaryDirectory } from "../../support/temporary-directory";
import { saveClassifier } from "../../support/tiny-classifier";

describe("verify with rerun", () => {
  let made: CertifiableErasure;
  let certificate: string;
  beforeAll(async () => {
    made = await certifiableErasure();
    certificate = join(temporaryDirectory(), "certificate.json");
    await certify(made.result, { ...made.options, file: certificate });
  });
  const run = (options: VerifyOptions = {}, path = certificate): Promise<Verification> =>
    verify(path, { signer: made.signer.publicKey, model: made.result, device: "cpu", seed: 1, ...options });
  const anew = (change: (predicate: ErasureCertificate) => void): string =>
    signAnew(certificate, made.signer.privateKey, change);
  const elsewhere = (change: (predicate: ErasureCertificate) => void = () => undefined): string =>
    anew((predicate) => {
      predicate.evaluations[0]!.machine!.processor = "another";
      change(predicate);
    });
  const last = ({ checks }: Verification) => checks.at(-1)!;

  it("draws the same bytes on the same kind of machine, chosen by the seed", async () => {
    const told: number[][] = [];
    const found = await run({ rerun: 3, onProgress: (...at) => told.push(at) });
    expect(found.ok).toBe(true);
    expect(found.rerun!.seed).toBe(1);
    expect(found.rerun!.pictures).toHaveLength(3);
    expect(found.rerun!.pictures.every(({ by, ok, rank }) => by === "bytes" && ok && rank === null)).toBe(
      true,
    );
    expect(last(found).found).toMatch(
      /^3 pictures \(choice of seed 1\) drawn again on the same kind of machine have the same bytes$/,
    );
    expect(told.at(-1)).toEqual([3, 3]);
    const files = (one: Verification): string[] => one.rerun!.pictures.map(({ file }) => file);
    expect(files(await run({ rerun: 3 }))).toEqual(files(found));
    const others = await Promise.all([2, 3, 4].map(async (seed) => files(await run({ rerun: 3, seed }))));
    expect(others.some((other) => other.join() !== files(found).join())).toBe(true);
  });

  it("draws a choice of its own where no seed is given", async () => {
    const choice = async (): Promise<number> => {
      const { rerun } = await verify(certificate, { model: made.result, device: "cpu", rerun: 1 });
      return rerun!.seed;
    };
    expect(await choice()).not.toBe(await choice());
  });

  it("names a picture that the result does not draw", async () => {
    // What a signer would do who puts nicer pictures in the place of those that were drawn.
    const path = anew(({ evaluations: [own] }) => {
      const { leaves } = own!.pictures;
      leaves[1]!.leaf = leaves[0]!.leaf;
      own!.pictures.root = merkleRoot(leaves.map(({ leaf }) => leaf));
    });
    const found = await run({ rerun: 6 }, path);
    expect(found.ok).toBe(false);
    expect(found.checks.filter(({ ok }) => !ok)).toEqual([
      {
        name: "rerun",
        ok: false,
        found: `"a photo of a church", seed 1, drawn again on the same kind of machine has other bytes than the certified picture`,
      },
    ]);
    expect(found.rerun!.pictures.filter(({ ok }) => !ok)).toHaveLength(1);
  });

  it("finds a picture at another place of its batch, where the set has grown", async () => {
    const path = anew(({ evaluations: [own] }) => {
      own!.pictures.leaves.reverse();
      own!.pictures.root = merkleRoot(own!.pictures.leaves.map(({ leaf }) => leaf));
    });
    expect((await run({ rerun: 6 }, path)).ok).toBe(true);
  });

  it("compares ranks on another kind of machine, and says in what it is another", async () => {
    const found = await run({ rerun: 6, classifier: made.classifier }, elsewhere());
    expect(found.ok).toBe(true);
    expect(last(found).found).toMatch(
      /^6 pictures \(choice of seed 1\) drawn again on another kind of machine \(processor is ".*", and was "another"\) have ranks that count the same$/,
    );
    expect(
      found.rerun!.pictures.every(({ by, rank }) => by === "rank" && rank!.now === rank!.certified),
    ).toBe(true);
    const unknown = anew(({ evaluations: [own] }) => (own!.machine = null));
    expect(last(await run({ rerun: 1, classifier: made.classifier }, unknown)).found).toContain(
      "is not known",
    );
  });

  it("names a picture whose rank counts otherwise", async () => {
    const path = elsewhere(({ evaluations: [own] }) => {
      const { leaves } = own!.pictures;
      leaves[4]!.rank = leaves[4]!.rank === 1 ? 2 : 1;
      Object.assign(own!.figures, summarize(own!.figures.classes, leaves, [1]));
    });
    const found = await run({ rerun: 6, classifier: made.classifier }, path);
    const [wrong, ...others] = found.rerun!.pictures.filter(({ ok }) => !ok);
    expect(others).toEqual([]);
    expect(wrong).toMatchObject({ prompt: "a photo of a dog", seed: 1, by: "rank" });
    expect(last(found)).toMatchObject({
      ok: false,
      found: expect.stringMatching(
        /"a photo of a dog", seed 1, drawn again .* is ranked \d, and \d is certified$/,
      ) as string,
    });
  });

  it("takes no other classifier than the certified one", async () => {
    const other = temporaryDirectory();
    await saveClassifier(other, ["church", "owl", "dog"]);
    for (const classifier of [other, new BrightnessClassifier(3), undefined])
      await expect(
        run({ rerun: 1, ...(classifier === undefined ? {} : { classifier }) }, elsewhere()),
      ).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(
          /classifier to be the certified one \(classifier, SHA-256 [0-9a-f]{64}\)/,
        ) as string,
      });
    const nameless = elsewhere(({ evaluations: [own] }) => (own!.classifier.sha256 = null));
    await expect(run({ rerun: 1 }, nameless)).rejects.toMatchObject({
      message: expect.stringContaining("has no hash to be told by") as string,
    });
  });

  it("ranks by CLIP where CLIP named the pictures", async () => {
    const clip = await ClipScorer.load(evaluationFixture("clip"));
    const shared = { imagesPerClass: 2, preserved: ["dog", "owl"] };
    const measured = await made.evaluate(made.result, { ...shared, clip, classifier: undefined } as never);
    clip.dispose();
    const file = join(temporaryDirectory(), "c.json");
    await certify(made.result, { ...made.options, evaluations: [measured], file });
    const path = signAnew(file, made.signer.privateKey, ({ evaluations: [own] }) => (own!.machine = null));
    const found = await run({ rerun: 4, clip: evaluationFixture("clip") }, path);
    expect(found.rerun!.pictures.map(({ ok }) => ok)).toEqual([true, true, true, true]);
  });

  it("draws nothing with a model that is not the certified one", async () => {
    const found = await run({ rerun: 1, model: made.base });
    expect(found).toMatchObject({ ok: false, skipped: expect.arrayContaining(["rerun"]) as string[] });
    expect(found.rerun).toBeUndefined();
  });

  it("draws with a delta on its base", async () => {
    using erasure = await erase(made.base, { method: "uce", concepts: "church" });
    const model = join(temporaryDirectory(), "delta");
    await erasure.save(model, { format: "delta" });
    const whole = join(temporaryDirectory(), "whole");
    await erasure.save(whole);
    const measured = temporaryDirectory();
    using applied = await StableDiffusion.load(made.base, { device: "cpu", delta: model });
    await evaluate(applied, {
      ...{
        erased: ["church"],
        classifier: made.classifier,
        imagesPerClass: 1,
        steps: 2,
        width: 32,
        height: 32,
        topK: [1],
      },
      ...{ cacheDirectory: join(measured, "images"), resultFile: join(measured, "evaluation.json") },
    });
    const file = join(temporaryDirectory(), "c.json");
    await certify(model, { ...made.options, artefacts: [], evaluations: [measured], file });
    expect((await run({ rerun: 1, model, base: made.base }, file)).ok).toBe(true);
    // The same weights as a whole, with the base at hand all the same.
    expect((await run({ rerun: 1, model: whole, base: made.base }, file)).ok).toBe(true);
  });

  it("refuses more pictures than there are without a key", async () => {
    await expect(run({ rerun: 7 })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("rerun to be at most 6") as string,
    });
    const keyed = anew(({ evaluations: [own] }) => (own!.withKey = true));
    await expect(run({ rerun: 1 }, keyed)).rejects.toMatchObject({
      message: expect.stringContaining("rerun to be at most 0") as string,
    });
  });

  it("says on which kinds of machine the pictures were drawn", async () => {
    const [set] = readdirSync(join(made.measured, "images"));
    const names = readdirSync(join(made.measured, "images", set!)).filter((name) =>
      name.startsWith("machine-"),
    );
    expect(names).toHaveLength(1);
    const several = temporaryDirectory();
    cpSync(made.measured, several, { recursive: true });
    const folder = join(several, "images", set!);
    cpSync(join(folder, names[0]!), join(folder, `machine-${"0".repeat(16)}.json`));
    const { certificate: found } = await certify(made.result, { ...made.options, evaluations: [several] });
    expect(found.evaluations[0]!.machine).toBeNull();
  });
});
