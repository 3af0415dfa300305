import { addNoise, NoiseSchedule, type Random, scope, type Tensor } from "../../lib/index";
import { SIDE } from "./dataset";
import type { DigitModel } from "./model";

const STEPS = 20;
/** The cosine schedule (arXiv 2102.09672, eq. 17), which leaves few pixels' structure visible over most of its length. */
const SCHEDULE = new NoiseSchedule({
  numTrainTimesteps: 1000,
  betaStart: 1e-4,
  betaEnd: 0.02,
  betaSchedule: "squaredcos_cap_v2",
  stepsOffset: 0,
  setAlphaToOne: true,
  skipPrkSteps: true,
});

/** Pictures at noise levels of their own. */
export interface Noisy {
  /** z_t, (B, 1, 8, 8). */
  pictures: Tensor;
  /** The noise in them. */
  noise: Tensor;
  timesteps: number[];
}

/** Noise at a level drawn for each picture. @param clean (B, 1, 8, 8) */
export function noised(clean: Tensor, random: Random): Noisy {
  const count = clean.shape[0]!;
  const timesteps = Array.from({ length: count }, (_, item) =>
    random.at("timestep", item).below(SCHEDULE.length),
  );
  const noise = random.at("noise").normal(clean.shape);
  return { pictures: addNoise(SCHEDULE, clean, noise, timesteps), noise, timesteps };
}

/** A picture for each embedding by DDIM (arXiv 2010.02502, eq. 12, σ = 0), the predicted picture kept within [-1, 1].
 *  @param embeddings (B, 32)   @returns (B, 1, 8, 8) */
export async function generate(model: DigitModel, embeddings: Tensor, random: Random): Promise<Tensor> {
  return scope(async () => {
    const stride = SCHEDULE.length / STEPS;
    let z = random.normal([embeddings.shape[0]!, 1, SIDE, SIDE]);
    for (let step = STEPS - 1; step >= 0; step--) {
      z = await scope(async () => {
        const [now, next] = [
          SCHEDULE.alphaCumprod(step * stride),
          SCHEDULE.alphaCumprod((step - 1) * stride),
        ];
        const predicted = await model.predict(z, step * stride, embeddings);
        const clean = z
          .sub(predicted.mul(Math.sqrt(1 - now)))
          .div(Math.sqrt(now))
          .clamp(-1, 1);
        const noise = z.sub(clean.mul(Math.sqrt(now))).div(Math.sqrt(1 - now));
        return clean
          .mul(Math.sqrt(next))
          .add(noise.mul(Math.sqrt(1 - next)))
          .settled();
      });
    }
    return z;
  });
}
