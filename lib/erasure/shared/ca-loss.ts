import { invalid } from "../../check";
import type { Condition } from "../../diffusion/condition";
import { noisyLatents } from "../../diffusion/noisy-latents";
import { predictNoise } from "../../diffusion/predict";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import { choice, flag, number } from "../../options/kinds";
import type { Complete } from "../../options/option";
import { noGrad } from "../../runtime/grad-mode";
import type { ErasureJob } from "../job";
import { AnchorPictures } from "./anchor-pictures";
import { anchors, captionsOf } from "./anchors";
import { maskedError } from "./masked-error";
import { pictures } from "./picture-options";
import { LEAST_CELLS } from "./placement";
import type { PreservationOptions } from "./preservation";
import type { Trainee } from "./trainee";

/** Options that decide CA's loss. */
export function caLoss() {
  return {
    ...anchors(),
    ...pictures(),
    /**
     * What c is drawn to: the student's own prediction for c* ("model", default), or the "noise" in the latents. On an
     * earlier built-in model noise erased as well, but what the name then drew was not the anchor either.
     */
    objective: choice(
      "model",
      ["model", "noise"],
      "what the concept is drawn to: model, the prediction for its anchor, or noise",
    ),
    /** Weight of the prior loss, which holds c* in place: for names that overlap. >= 0, default 0. */
    priorWeight: number(0, "weight of the loss that holds the anchor in place", { from: 0 }),
    /** Whether pictures are mirrored, and for objects scaled. Default true. */
    augment: flag(true, "train on pictures as they are"),
  };
}

type CaLossOptions = Complete<ReturnType<typeof caLoss>>;

/** What CA's iterations are driven by. */
export type CaTraining = CaLossOptions &
  PreservationOptions & { readonly iterations: number; readonly batchSize: number };

/** Refuses pictures that are too small to be scaled. @throws INVALID_ARGUMENT */
export function fitCaLoss(o: CaLossOptions, { imageSize, vae }: StableDiffusion): void {
  if (o.augment && o.kind === "object" && imageSize / vae.downsampling < LEAST_CELLS)
    throw invalid("augment", `false for latents of less than ${LEAST_CELLS} × ${LEAST_CELLS}`, o.augment);
}

/** Makes the anchors' pictures, or finds them. @throws NO_SPACE, IO_ERROR, OUT_OF_MEMORY, ABORTED */
export function drawAnchors(job: ErasureJob, o: CaTraining): Promise<AnchorPictures> {
  const augmentation = !o.augment ? "none" : o.kind === "style" ? "mirror" : "scale";
  return AnchorPictures.create(job, captionsOf(o, job.concepts), { ...o, augmentation });
}

/**
 * Trains whatever predicts and learns on CA's loss (arXiv 2303.13516): the equation stands with the method `ca`.
 * @param made by `drawAnchors`
 * @param encoder of captions, with a graph where its words are trained
 */
export async function trainOnCaLoss(
  job: ErasureJob,
  o: CaTraining,
  made: AnchorPictures,
  { student, weights }: Trainee,
  encoder: { encode(captions: readonly string[]): Promise<Condition> } = job,
): Promise<void> {
  const preservation = await job.preservation({ ...o, student });
  await job.iterate(o.iterations, async (i) => {
    const { anchors: named, mask, targets, clean } = await noGrad(() => made.next(i));
    const batch = noisyLatents(job.base.schedule, clean, job.random.at("noise", i)); // (B, 4, h, w)
    const predict = async (captions: readonly string[], grad: boolean) => {
      const condition = await (grad ? encoder.encode(captions) : noGrad(() => encoder.encode(captions)));
      return predictNoise(student, batch, condition, { grad });
    };
    const losses = await weights.update(i, async (backward) => {
      const held = o.priorWeight > 0;
      const guided = o.objective === "model";
      const anchor = held || guided ? await predict(named, held) : null;
      const prior = held ? await backward(maskedError(anchor!, batch.noise, mask), o.priorWeight) : null;
      const target = guided ? anchor!.detach() : batch.noise;
      const erase = await backward(maskedError(await predict(targets, true), target, mask));
      return { erase, prior, ...(await preservation.step(i, batch, backward)) };
    });
    return { ...losses, ...(await preservation.search(i, batch)) };
  });
}
