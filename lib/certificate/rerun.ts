import { createHash, randomInt } from "node:crypto";
import { invalid, tell } from "../check";
import { drawAtPlaces, type PlacedItem } from "../diffusion/image-set";
import { StableDiffusion, type Device } from "../diffusion/stable-diffusion";
import type { Classifier } from "../evaluation/classifier";
import type { ClipScorer } from "../evaluation/clip-scorer";
import { jsonDifference } from "../files/json-difference";
import { leafHash } from "../files/merkle-tree";
import type { Image } from "../io/image";
import { localPath } from "../io/local-path";
import { machineKind } from "../runtime/machine";
import { deltaFile } from "./checkpoint-identity";
import { openJudge, type OpenJudge } from "./open-judge";
import type { CertifiedEvaluation, CertifiedPicture, ErasureCertificate } from "./statement";
import type { Findings, RedrawnPicture, Verification } from "./verification";

/** What pictures are drawn again with. */
export interface RerunOptions {
  /** The erased model: as `StableDiffusion.load` takes it, or the folder or file of a delta (with `base`). */
  model?: string;
  /** The checkpoint that the erasure started from. */
  base?: string;
  /** What the network predicts, where model or base is a single file that does not say: Stable Diffusion 2's. */
  prediction?: "epsilon" | "v";
  /** Of the choice of pictures to draw again. Default: drawn at random, so that no signer can know it. */
  seed?: number;
  /** What ranks pictures that are drawn again on another kind of machine; it has to be the certified one. Default: the
   *  built-in one, where that was certified. */
  classifier?: Classifier | string;
  /** In the place of `classifier`, where CLIP itself named the pictures. */
  clip?: ClipScorer | string;
  /** Where pictures are drawn again. Default "auto". */
  device?: Device;
  signal?: AbortSignal;
  /** Told of pictures that are drawn again. */
  onProgress?(done: number, total: number): void;
}

/** A picture that was chosen, with its place in the list that it was drawn of. */
interface Chosen extends PlacedItem {
  readonly picture: CertifiedPicture;
  readonly evaluation: CertifiedEvaluation;
}

/**
 * Draws some of the certified pictures again with the result, and compares them with what was certified.
 * @returns undefined where the model is not the certified one, whose pictures would say nothing
 * @throws INVALID_ARGUMENT on more pictures than there are without a key, or a classifier that is not the certified one;
 *   what loading and drawing throw
 */
export async function redraw(
  certificate: ErasureCertificate,
  count: number,
  options: RerunOptions,
  found: Findings,
): Promise<Verification["rerun"]> {
  if (found.checks.some(({ name, ok }) => name === "model" && !ok)) {
    found.skipped.push("rerun");
    return undefined;
  }
  const seed = options.seed ?? randomInt(2 ** 32);
  const chosen = choose(certificate, count, seed);
  const pictures: RedrawnPicture[] = [];
  const { signal, onProgress } = options;
  for (const group of groups(chosen)) {
    const { evaluation } = group[0]!;
    const done = pictures.length;
    const model = await load(evaluation, options);
    let judge: OpenJudge | undefined;
    try {
      const other = otherKind(model, evaluation);
      if (other !== null) judge = await openJudge(evaluation, options, model.device);
      const images = await drawAtPlaces(model, group, evaluation.drawing, {
        ...(signal === undefined ? {} : { signal }),
        onDrawn: (drawn) => tell(onProgress, done + drawn, chosen.length),
      });
      const compared =
        judge === undefined
          ? await byBytes(model, group, images, signal)
          : await byRank(group, images, judge.classifier, signal);
      pictures.push(...compared);
      report(compared, seed, other, found);
    } finally {
      judge?.dispose();
      model.dispose();
    }
  }
  return { seed, pictures };
}

/** Pictures by a hash that the seed salts: which ones come first nobody knows before. */
function choose({ evaluations }: ErasureCertificate, count: number, seed: number): Chosen[] {
  const all = evaluations.flatMap((evaluation) =>
    evaluation.withKey
      ? []
      : evaluation.pictures.leaves.map((picture, place) => ({
          ...itemOf(picture),
          place,
          picture,
          evaluation,
        })),
  );
  if (count > all.length)
    throw invalid("rerun", `at most ${all.length}, as many pictures as were drawn without a key,`, count);
  const order = ({ evaluation, place }: Chosen): string =>
    createHash("sha256").update(`${seed} ${evaluation.set} ${place}`).digest("hex");
  return all.sort((a, b) => (order(a) < order(b) ? -1 : 1)).slice(0, count);
}

function itemOf({ prompt, seed }: CertifiedPicture): { prompt: string; seed: number } {
  return { prompt, seed };
}

/** Those of each evaluation together, in the order of their places. */
function groups(chosen: readonly Chosen[]): Chosen[][] {
  const evaluations = new Set(chosen.map(({ evaluation }) => evaluation));
  return [...evaluations].map((evaluation) =>
    chosen.filter((one) => one.evaluation === evaluation).sort((a, b) => a.place - b.place),
  );
}

async function load(
  { drawing: { dtype } }: CertifiedEvaluation,
  { model: given, base, prediction, device, signal }: RerunOptions,
): Promise<StableDiffusion> {
  const model = await localPath(given!, { signal });
  const options = {
    dtype: dtype as StableDiffusion["dtype"],
    ...(prediction === undefined ? {} : { prediction }),
    ...(device === undefined ? {} : { device }),
    ...(signal === undefined ? {} : { signal }),
  };
  if ((await deltaFile(model)) === null) return StableDiffusion.load(model, options);
  return StableDiffusion.load(base!, { ...options, delta: model });
}

/** In what this machine is of another kind than the one that drew the pictures; null where it is of the same. */
function otherKind({ device }: StableDiffusion, { machine }: CertifiedEvaluation): string | null {
  if (machine === null) return "that of the certified pictures is not known";
  const here = machineKind(device);
  if (here === null) return "this one's processor is not known";
  const difference = jsonDifference(here, machine);
  return difference && `${difference.path} is ${difference.first}, and was ${difference.second}`;
}

async function byBytes(
  model: StableDiffusion,
  group: readonly Chosen[],
  images: readonly Image[],
  signal: AbortSignal | undefined,
): Promise<RedrawnPicture[]> {
  const cancel = signal === undefined ? {} : { signal };
  const found: RedrawnPicture[] = [];
  for (const [i, one] of group.entries()) {
    const { picture, evaluation } = one;
    const isOneOf = async (some: readonly Image[]): Promise<boolean> => {
      for (const image of some) if (leafHash(await image.png()) === picture.leaf) return true;
      return false;
    };
    let ok = await isOneOf([images[i]!]);
    if (!ok) {
      // With several threads rounding depends on the place in a batch, and a set that grew has pictures of other places.
      const places = Array.from({ length: evaluation.drawing.batchSize }, (_, place) => ({ ...one, place }));
      ok = await isOneOf(await drawAtPlaces(model, places, evaluation.drawing, cancel));
    }
    found.push({ ...itemOf(picture), file: picture.file, by: "bytes", ok, rank: null });
  }
  return found;
}

async function byRank(
  group: readonly Chosen[],
  images: readonly Image[],
  classifier: Classifier,
  signal: AbortSignal | undefined,
): Promise<RedrawnPicture[]> {
  const rankings = await classifier.classify(images, signal === undefined ? {} : { signal });
  return group.map(({ picture, evaluation: { figures } }, i) => {
    const now = rankings[i]!.indices.indexOf(classifier.indexOf(picture.class)) + 1;
    const counted = figures.classes.find(({ name }) => name === picture.class)!;
    const rank = { certified: picture.rank, now };
    const ok = Object.keys(counted.rates)
      .map(Number)
      .every((k) => rank.now <= k === rank.certified <= k);
    return { ...itemOf(picture), file: picture.file, by: "rank", ok, rank };
  });
}

/** @param other in what the machine is of another kind */
function report(
  pictures: readonly RedrawnPicture[],
  choice: number,
  other: string | null,
  found: Findings,
): void {
  const machine = `on ${other === null ? "the same kind of machine" : `another kind of machine (${other})`}`;
  for (const { ok, prompt, seed, rank } of pictures) {
    if (ok) continue;
    const what = `"${prompt}", seed ${seed}, drawn again ${machine}`;
    if (rank === null) found.fail("rerun", `${what} has other bytes than the certified picture`);
    else found.fail("rerun", `${what} is ranked ${rank.now}, and ${rank.certified} is certified`);
  }
  if (!pictures.every(({ ok }) => ok)) return;
  const [count, own] = [pictures.length, pictures.length === 1 ? "has" : "have"];
  const how = other === null ? `${own} the same bytes` : `${own} ranks that count the same`;
  const what = `${count} ${count === 1 ? "picture" : "pictures"} (choice of seed ${choice})`;
  found.pass("rerun", `${what} drawn again ${machine} ${how}`);
}
