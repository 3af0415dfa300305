import type { AttackContext } from "../../lib/attack/method";
import type { StableDiffusion } from "../../lib/diffusion/stable-diffusion";
import { Random } from "../../lib/runtime/random";
import { EvaluationCounter } from "../../lib/training/evaluations";
import { parseRunOptions, type RunOptions } from "../../lib/training/run-options";
import type { StepReport } from "../../lib/training/step-report";

/** An attack's context without pictures drawn or classified: what succeeds is up to the test. By default nothing does. */
export function attackContext(
  model: StableDiffusion,
  fields: Partial<AttackContext> = {},
  run: RunOptions = {},
): AttackContext & { history: StepReport[] } {
  const job = parseRunOptions(run);
  const history: StepReport[] = [];
  return {
    model,
    concept: "church",
    template: "a photo of a {}",
    prompt: "a photo of a church",
    images: [],
    random: new Random(job.seed),
    job,
    identity: () => Promise.resolve({ seed: job.seed }),
    evaluations: new EvaluationCounter(),
    succeeds: () => Promise.resolve(false),
    history,
    report(step) {
      history.push(step);
      job.onStep?.(step);
    },
    ...fields,
  };
}
