import type { StableDiffusion } from "../diffusion/stable-diffusion";
import { noGrad } from "../runtime/grad-mode";
import { scope } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";

/** A text about a concept, and the same without it. */
export type ConceptPair = readonly [withConcept: string, without: string];

/** Pairs encoded together. */
const TOGETHER = 16;

/**
 * What a concept adds to a text's embedding: the mean over pairs of E(with) − E(without), row by row (Ring-A-Bell,
 * arXiv 2310.10012, eq. 2).
 * @param pairs at least one
 * @returns (L, d) float32 on the model's device
 */
export function conceptVector(model: StableDiffusion, pairs: readonly ConceptPair[]): Promise<Tensor> {
  return scope(() =>
    noGrad(async () => {
      const sums: Tensor[] = [];
      for (let first = 0; first < pairs.length; first += TOGETHER) {
        const batch = pairs.slice(first, first + TOGETHER);
        sums.push(
          await scope(async () => {
            const given = await model.encode(batch.map(([text]) => text));
            const without = await model.encode(batch.map(([, text]) => text));
            return given.to("float32").sub(without.to("float32")).sum(0).settled();
          }),
        );
      }
      return Tensor.stack(sums).sum(0).div(pairs.length).settled();
    }),
  );
}
