import { finite, integer, oneOf } from "../../check";
import { noisyLatents } from "../../diffusion/noisy-latents";
import { encodePictures } from "../../diffusion/picture-latents";
import { PromptKey } from "../../diffusion/prompt-key";
import type { StableDiffusion } from "../../diffusion/stable-diffusion";
import type { PromptLayers, PromptMechanism } from "../../models/unet";
import { Adam } from "../../nn/optimizer";
import { parseSchedule, type Schedule } from "../../nn/schedules";
import { noGrad } from "../../runtime/grad-mode";
import { keep, scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import { readLosses } from "../../training/read-losses";
import type { TrainingState } from "../../training/run-state";
import type { AttackContext, AttackInput, AttackMethod } from "../method";
import { searchLoop } from "../search-loop";

/** Options of the search for a key. */
export interface KeySearchOptions {
  method: "key-search";
  /** Rows k of a concatenative prompt; an additive one has the text's L rows. Default 10. */
  size?: number;
  /** How it enters cross-attention. Default "concat". */
  mechanism?: PromptMechanism;
  /** The layers that take it: those of the true key, or others. Default "mid". */
  layers?: PromptLayers;
  /** Standard deviation of its start. Default 0.02. */
  scale?: number;
  /** Updates. Default 1000. */
  iterations?: number;
  /** Noisy pictures per update. Default 4. */
  batchSize?: number;
  /** Adam's rate. Default 5e-2, KPOP's own for its prompt. */
  learningRate?: Schedule;
  /** How many times, evenly spread and at the end, the key is tried. Default 4. */
  looks?: number;
}

type Parsed = Readonly<Required<Omit<KeySearchOptions, "method">>>;

const defaults: Parsed = Object.freeze({
  size: 10,
  mechanism: "concat" as const,
  layers: "mid" as const,
  scale: 0.02,
  iterations: 1000,
  batchSize: 4,
  learningRate: 5e-2,
  looks: 4,
});

/**
 * Looks for a substitute of KPOP's key (arXiv 2403.12326): a prompt injected in cross-attention that minimises
 * E ‖n − ε(z_t, t, c, p)‖² on noised pictures of the concept, c the prompt that names it, weights fixed. It is what one
 * can do who has the erased weights and pictures, but not the key.
 */
export const keySearch: AttackMethod<Parsed> = {
  name: "key-search",
  reference: "arXiv 2403.12326",
  summary: "learns a prompt to inject in cross-attention, in place of KPOP's key",
  needsPictures: true,
  defaults,
  help: {
    size: "rows of the prompt",
    mechanism: "how it enters cross-attention: concat or additive",
    layers: "layers that take it: mid, mid-up, all, or a name; repeatable",
    scale: "standard deviation of its start",
    iterations: "updates of the prompt",
    batchSize: "noisy pictures in an update",
    learningRate: "Adam's rate for the prompt",
    looks: "how many times on the way it is tried",
  },
  parse,
  run: (context, options) => scope(() => search(context, options)),
};

function parse(given: Readonly<Record<string, unknown>>, model: StableDiffusion): Parsed {
  const o = { ...defaults, ...given } as Parsed;
  oneOf("mechanism", o.mechanism, ["concat", "additive"]);
  integer("size", o.size, 1, 10_000);
  model.unet.promptLayers(o.layers);
  finite("scale", o.scale, 0);
  integer("iterations", o.iterations, 1);
  integer("batchSize", o.batchSize, 1);
  parseSchedule("learningRate", o.learningRate);
  integer("looks", o.looks, 1, o.iterations);
  return o.mechanism === "concat" ? o : { ...o, size: model.tokenizer.maxLength };
}

/** Iterations done when the key is tried: evenly spread, the last at the end. */
function looksOf({ iterations, looks }: Parsed): number[] {
  return Array.from({ length: looks }, (_, look) => Math.round(((look + 1) * iterations) / looks));
}

async function search(context: AttackContext, options: Parsed): Promise<AttackInput[]> {
  const { model, concept, prompt: text, images, job, random, evaluations } = context;
  const { size, mechanism, layers, scale, iterations, batchSize } = options;
  const rate = parseSchedule("learningRate", options.learningRate);
  const { device, dtype } = model;
  const { latents: clean } = await encodePictures(model, images, { signal: job.signal });
  const caption = (await model.encode(text)).expand([batchSize, -1, -1]); // (B, L, d)
  const shape = [size, model.unet.config.cross_attention_dim];
  const prompt = await random.at("prompt").normal(shape).mul(scale).to({ device }).clone().settled();
  const optimizer = await Adam.create([prompt]);
  const looks = looksOf(options);
  const found = looks.map(() => Tensor.zeros(shape, { device }));

  const step = async (iteration: number): Promise<Record<string, number>> => {
    const draws = random.at("step", iteration);
    const pictures = Array.from({ length: batchSize }, (_, item) =>
      draws.at("picture", item).below(clean.shape[0]!),
    );
    const at = Tensor.from(pictures, [batchSize], { dtype: "int64", device });
    const { latents, noise, timesteps } = noisyLatents(
      model.schedule,
      clean.indexSelect(0, at),
      draws.at("noise"),
    );
    await prompt.requireGrad();
    evaluations.add(batchSize);
    const predicted = await model.unet.forward(latents.to(dtype), timesteps, caption, {
      prompt,
      mechanism,
      layers,
      grad: true,
    });
    const denoising = predicted.to("float32").mse(noise);
    await denoising.backward([prompt]);
    await optimizer.step(rate(iteration, iterations));
    await prompt.requireGrad(false);
    const look = looks.indexOf(iteration + 1);
    if (look >= 0) await noGrad(() => found[look]!.copyFrom(prompt));
    return readLosses({ denoising });
  };

  const state: TrainingState = {
    tensors: () =>
      new Map([
        ["prompt", prompt],
        ...found.map((key, look) => [`found.${look}`, key] as const),
        ...optimizer.state(),
      ]),
    numbers: () => null,
    restore: () => undefined,
  };
  try {
    await searchLoop(context, options, { iterations, state, step });
    const keys = found.map((key) => keep(key.to({ device: "cpu" }).clone()));
    for (const key of keys) await key.settled();
    return keys.map((key, look) => ({
      name: `after ${looks[look]}`,
      prompt: text,
      key: new PromptKey({ prompt: key, mechanism, layers, concepts: [concept] }),
    }));
  } finally {
    optimizer.dispose();
  }
}
