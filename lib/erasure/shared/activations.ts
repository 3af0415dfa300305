import { join } from "node:path";
import { repeated } from "../../diffusion/condition";
import { denoise } from "../../diffusion/denoise";
import { networkOf } from "../../diffusion/predict";
import { startingNoise } from "../../diffusion/generate";
import { digest, modelIdentity } from "../../diffusion/identity";
import type { Intervention } from "../../diffusion/interventions/intervention";
import { sampler as samplerNamed } from "../../diffusion/samplers";
import { ACTIVATIONS_FORMAT } from "../../io/file-kinds";
import * as kinds from "../../options/kinds";
import type { Complete } from "../../options/option";
import { cacheFolder } from "../../runtime/cache-directory";
import { distinct, Random } from "../../runtime/random";
import { keep, scope } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { ErasureJob } from "../job";
import { pictures } from "./picture-options";

/** Options of methods that look at what a module of the network gives while the model draws. */
export function outputs() {
  return {
    ...pictures(),
    /** Pictures of each text whose drawing is looked at. Default 8. */
    images: kinds.integer(8, "pictures of each text whose drawing is looked at", { from: 1 }),
    /** Denoising steps of those pictures. Default 50. */
    samplingSteps: { ...pictures().samplingSteps, default: 50 },
    /** Guidance scale of those pictures. Default 9. */
    guidanceScale: { ...pictures().guidanceScale, default: 9 },
    /** Where outputs are kept, for this and later runs. Default "", kpop-native/activations in the user's cache directory. */
    cacheDirectory: kinds.path("", "where outputs are kept; the user's cache directory when empty"),
    /** The transformer of the UNet whose outputs are looked at. Default "up_blocks.1.attentions.1". */
    site: kinds.text("up_blocks.1.attentions.1", "the transformer of the UNet whose outputs are looked at"),
    /** Places of an output that are kept, drawn at each step of each picture. Default 32. */
    places: kinds.integer(32, "places of an output that are kept, at each step of each picture", { from: 1 }),
  };
}

/** `outputs()`, complete. */
export type OutputOptions = Complete<ReturnType<typeof outputs>>;

/** One picture: what its drawing gives depends on this and the options alone, whatever the run's seed. */
interface Item {
  readonly prompt: string;
  readonly seed: number;
}

/** Pictures drawn together. */
const TOGETHER = 8;

/** Vectors of C numbers that a transformer gave for the prompts of some texts, at every step of their drawing. */
export class Activations {
  private constructor(
    private readonly job: ErasureJob,
    /** Of the network's evaluations, one for each step. */
    readonly timesteps: readonly number[],
    /** (T, S, N, C) float16 on the CPU, for T texts, S steps and N vectors. */
    private readonly held: Tensor,
  ) {}

  /**
   * Draws the pictures, or finds what was kept of them; each has a file of its own.
   * @throws NO_SPACE, IO_ERROR, OUT_OF_MEMORY, ABORTED; what was made until then stays
   */
  static async collect(job: ErasureJob, texts: readonly string[], o: OutputOptions): Promise<Activations> {
    const { base } = job;
    const items = texts.flatMap((named) =>
      Array.from({ length: o.images }, (_, seed): Item => {
        const template = o.templates[seed % o.templates.length]!;
        return { prompt: template.replaceAll("{}", () => named), seed };
      }),
    );
    const folder = o.cacheDirectory === "" ? join(cacheFolder(), "activations") : o.cacheDirectory;
    const model = await modelIdentity(base, job.signal);
    const { samplingSteps, guidanceScale, site, places } = o;
    const shared = { model, sampler: base.defaultSampler, samplingSteps, guidanceScale, site, places };
    const held = await scope(async () => {
      const read = await job.kept(items, {
        ...{ what: "picture", format: ACTIVATIONS_FORMAT, name: "outputs", together: TOGETHER, folder },
        fileName: (item) => `${digest({ ...shared, ...item })}.safetensors`,
        make: (some) => draw(job, some, o),
      });
      const all = Tensor.stack(read); // (T · images, S, places, C)
      const [, steps, kept, width] = all.shape as [number, number, number, number];
      const byText = all.reshape([texts.length, o.images, steps, kept, width]).permute([0, 2, 1, 3, 4]);
      return byText
        .reshape([texts.length, steps, o.images * kept, width])
        .contiguous()
        .settled();
    });
    const run = samplerNamed(base.defaultSampler).create<Tensor>(base.schedule, samplingSteps);
    return new Activations(job, run.timesteps, held);
  }

  /** All of one text's, (S, N, C) float32, where the model computes. */
  of(index: number): Tensor {
    return this.placed(this.held.slice(0, index, index + 1).squeeze(0));
  }

  /** Vectors drawn for an iteration from all texts, steps and places, (B, C) float32. */
  vectors(iteration: number, size: number): Tensor {
    const width = this.held.shape[3]!;
    const random = this.job.random.at("vectors", iteration);
    const count = this.held.size / width;
    const chosen = Array.from({ length: size }, (_, item) => random.at(item).below(count));
    return this.placed(this.held.reshape([-1, width]).rows(chosen));
  }

  private placed(tensor: Tensor): Tensor {
    return tensor.to({ device: this.job.base.device }).to("float32");
  }
}

/** What the conditional half of guidance gives for some pictures, (S, places, C) float16 for each. */
async function draw(job: ErasureJob, items: readonly Item[], o: OutputOptions): Promise<Tensor[]> {
  const { base, signal } = job;
  const { schedule, imageSize: side } = base;
  const text = await base.condition(items.map(({ prompt }) => prompt));
  const guided = o.guidanceScale !== 1;
  const negative = guided ? repeated(await base.unconditional(), items.length) : null;
  const kept: Tensor[] = [];
  const recorder: Intervention = {
    ...{ name: "recorder", version: 1, settings: {}, prompts: [] },
    taps: () => ({
      [o.site]: (output) => {
        const conditional = output.slice(0, output.shape[0]! - items.length);
        kept.push(keep(scope(() => placesOf(conditional, items, kept.length, o.places))));
      },
    }),
  };
  const network = { ...networkOf(base), interventions: [...base.interventions, recorder] };
  const run = samplerNamed(base.defaultSampler).create<Tensor>(schedule, o.samplingSteps);
  const noises = items.map(({ seed }) => startingNoise(base, seed, { width: side, height: side }));
  const noise = Tensor.cat(noises).to({ device: base.device });
  try {
    const guidance = { text, negative, guidanceScale: o.guidanceScale };
    const states = denoise(network, run, noise, guidance, { signal });
    while ((await states.next()).done !== true);
    const all = Tensor.stack(kept, 1); // (items, S, places, C)
    return items.map((_, index) =>
      all
        .slice(0, index, index + 1)
        .squeeze(0)
        .contiguous(),
    );
  } finally {
    for (const tensor of kept) tensor.dispose();
  }
}

/** Some places of each item's output. @param output (B, C, h, w) @returns (B, places, C) float16 on the CPU */
function placesOf(output: Tensor, items: readonly Item[], step: number, places: number): Tensor {
  const [count, width, height, breadth] = output.shape as [number, number, number, number];
  const area = height * breadth;
  const chosen = items.flatMap(({ prompt, seed }, index) =>
    distinct(new Random(seed).at("places", prompt, step), Math.min(places, area), area).map(
      (place) => index * area + place,
    ),
  );
  const vectors = output
    .permute([0, 2, 3, 1])
    .reshape([count * area, width])
    .rows(chosen);
  return vectors.to({ device: "cpu" }).to("float16").reshape([count, -1, width]);
}
