import { join } from "node:path";
import { erase, StableDiffusion, type EraseOptions, type PromptKey } from "../../lib/index";
import type { TrialContext } from "../cases/case";
import { knownTo, methodOf } from "../entrants";
import { peakBytes } from "../machine";
import { ORIGINAL, type Cost, type Settings } from "../results";

/** Iterations between saved states: a loss of a minute or two at full size. */
const SAVED_EVERY = 100;

/** The model that a trial looks at. */
export interface Subject extends Disposable {
  model: StableDiffusion;
  key?: PromptKey;
  /** Of the erasure; the original costs nothing. */
  cost?: Cost;
}

/** The model under test, as it came. */
export function loadModel({ model, device, dtype }: Settings): Promise<StableDiffusion> {
  return StableDiffusion.load(model, { device, dtype });
}

/** The original, or what the trial's method makes of it. @param concepts what is erased, as the method is told it */
export async function eraseFor(context: TrialContext, concepts: readonly string[]): Promise<Subject> {
  const { spec, settings, work, log } = context;
  const model = await loadModel(settings);
  if (spec.method === ORIGINAL) return { model, [Symbol.dispose]: () => model.dispose() };
  log(`erasing ${concepts.join(", ")}`);
  const erasure = await erase(model, {
    ...spec.options,
    // A folder of its own for a method that keeps pictures, so that every trial pays for them.
    ...knownTo(spec.method, { cacheDirectory: join(work, "pictures") }),
    method: methodOf(spec.method),
    concepts: [...concepts],
    preserve: spec.preserve,
    seed: settings.seed,
    checkpoint: { directory: join(work, "state"), every: SAVED_EVERY },
    resume: true,
  } as EraseOptions);
  const { key, manifest } = erasure;
  const cost: Cost = {
    seconds: manifest.seconds,
    unetEvaluations: manifest.unetEvaluations,
    peakBytes: peakBytes(),
    changedShare: changedShare(erasure.model),
    threads: manifest.threads,
    device: manifest.device,
  };
  log(`erased in ${cost.seconds.toFixed(1)} s`);
  return {
    model: erasure.model,
    ...(key === undefined ? {} : { key }),
    cost,
    [Symbol.dispose]: () => {
      erasure.dispose();
      model.dispose();
    },
  };
}

/** Share of the UNet's elements in tensors that the method may change. */
function changedShare({ unet, changed }: StableDiffusion): number {
  const sizes = unet.parameterNames().map((name) => {
    const elements = unet.parameter(name).shape.reduce((product, side) => product * side, 1);
    return { elements, changed: changed.has(name) };
  });
  const sum = (of: typeof sizes): number => of.reduce((total, { elements }) => total + elements, 0);
  return sum(sizes.filter((one) => one.changed)) / sum(sizes);
}
