import type { ImageSetItem } from "../../diffusion/image-set";
import {
  pictureBatches,
  TOGETHER,
  type PictureOptions,
  type PictureSet,
} from "../../diffusion/make-pictures";
import { sampler as samplerNamed } from "../../diffusion/samplers";
import { throwIfAborted } from "../../errors";
import { Image } from "../../io/image";
import { scope, type Disposable } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { Losses } from "../../training/player";
import { ErasureJob } from "../job";
import type { ErasureParts } from "../parts";
import { missingItems, type Making } from "../shared/kept-tensors";
import type { TrajectoryOptions } from "../shared/latent-options";
import type { LatentSource } from "../shared/latent-source";
import { openLatents, type LatentTexts } from "../shared/open-latents";
import { CountingSampler } from "./counting-sampler";
import { Ledger, median, type Spending } from "./ledger";
import { NoiseSource, RehearsedLatents } from "./rehearsed-latents";

/** Something that is done often is timed until it has taken so long, or so many times. */
const [SECONDS, TIMES] = [2, 8];
/** Steps of an inversion, or of a picture, that stand for all: the difference is free of what comes before and after. */
const [FEW, MORE] = [2, 6];
/** What parts of a run are called. */
const PARTS = {
  iteration: "iteration",
  layer: "layer",
  filling: "pool-filling step",
  going: "trajectory step",
} as const;
/** Those of them that iterations consist of. */
export const ITERATED: readonly string[] = [PARTS.iteration, PARTS.layer, PARTS.going];
const NOTHING: Spending = { seconds: 0, evaluations: 0 };

/**
 * A run that takes a few iterations of many, on a copy of the weights that is thrown away, and notes what all would take.
 * What is drawn at random is drawn as the run draws it, so that evaluations are counted and not guessed. It makes no
 * pictures and writes nothing.
 */
export class Rehearsal extends ErasureJob {
  private readonly ledger = new Ledger(this.evaluations);
  private readonly sources: RehearsedLatents[] = [];
  private readonly samplers: CountingSampler[] = [];
  private taken = 0;

  /** @param turns iterations that begin something else, which are looked at apart */
  constructor(
    parts: ErasureParts,
    { seed, signal }: { seed: number; signal: AbortSignal | undefined },
    private readonly turns: readonly number[],
  ) {
    const never = { onStep: undefined, checkpoint: undefined, resume: false };
    super(parts, { seed, signal, ...never, identity: () => Promise.resolve("") });
  }

  /** What the whole takes, and its parts. */
  async rehearse(run: () => Promise<void>) {
    await this.run(async () => {
      await run();
      for (const sampler of this.samplers) await this.noteTrajectories(sampler);
    });
    return { ...this.ledger.total(), parts: this.ledger.parts, iterations: this.taken };
  }

  override async iterate(iterations: number, step: (iteration: number) => Promise<Losses>): Promise<void> {
    const start = this.taken;
    this.taken += iterations;
    await this.prepareParts();
    const bounds = [start, ...this.turns.filter((at) => at > start && at < this.taken), this.taken];
    for (const [index, from] of bounds.slice(0, -1).entries())
      await this.stretch(from, bounds[index + 1]!, step);
  }

  /** Iterations that are all alike. */
  private async stretch(
    from: number,
    to: number,
    step: (iteration: number) => Promise<Losses>,
  ): Promise<void> {
    for (const source of this.sources) source.used = false;
    const take = (at: number): Promise<Spending> => this.ledger.sample(() => this.take(at, step));
    // The first one warms up.
    let last = await take(from);
    const timed: number[] = [];
    let at = from + 1;
    for (; at < to && unsure(timed); at++) {
      last = await take(at);
      timed.push(last.seconds);
    }
    const seconds = timed.length === 0 ? last.seconds : median(timed);
    const count = to - from;
    this.ledger.note(PARTS.iteration, count, {
      seconds: count * seconds,
      evaluations: count * last.evaluations,
    });
    const used = this.sources.filter((source) => source.used);
    await this.ledger.sample(async () => {
      for (; at < to && used.length > 0; at++) {
        throwIfAborted(this.signal);
        await scope(async () => {
          for (const source of used) await source.skip(at);
        });
      }
    });
  }

  private async take(at: number, step: (iteration: number) => Promise<Losses>): Promise<void> {
    throwIfAborted(this.signal);
    await scope(async () => {
      const losses = Object.values(await step(at)).filter((loss) => loss instanceof Tensor);
      await Promise.all(losses.map((loss) => loss.detach().item()));
    });
  }

  override async closedForm(count: number, solve: (index: number) => Promise<Losses>): Promise<void> {
    this.taken += count;
    const alike = new Map<string, number[]>();
    const shapes = this.student[this.network].parameterShapes();
    for (let index = 0; index < count; index++) {
      const name = count === this.trained.length ? this.trained[index]! : "";
      const shape = String(shapes[name]);
      alike.set(shape, [...(alike.get(shape) ?? []), index]);
    }
    for (const indices of alike.values()) {
      const spent: Spending[] = [];
      for (const index of indices.slice(0, 2))
        spent.push(await this.ledger.sample(() => this.take(index, solve)));
      const [first, second = NOTHING] = spent as [Spending, Spending?];
      this.ledger.note(PARTS.layer, indices.length, plus(first, second, indices.length - 1));
    }
  }

  override async each(count: number, make: (index: number) => Promise<void>): Promise<void> {
    const spent: Spending[] = [];
    // The first one warms up, and the last may be smaller.
    for (const index of count <= 3 ? Array(count).keys() : [0, 1, count - 1])
      spent.push(await this.ledger.sample(() => make(index)));
    const all = spent.reduce((sum, one) => plus(sum, one, 1), NOTHING);
    this.ledger.note("trajectory batch", count, count <= 3 ? all : plus(all, spent[1]!, count - 3));
  }

  override async stepping<T extends Disposable>(
    steps: number,
    run: (steps: number) => Promise<T>,
  ): Promise<T> {
    let result!: T;
    const trial = (count: number) =>
      this.ledger.sample(async () => {
        (result as T | undefined)?.dispose();
        result = await run(count);
      });
    const few = await trial(Math.min(FEW, steps));
    const whole = steps <= FEW ? few : along(few, await trial(Math.min(MORE, steps)), steps);
    this.ledger.note("inversion step", steps, whole);
    return result;
  }

  override async pictures(items: readonly ImageSetItem[], options: PictureOptions): Promise<PictureSet> {
    const { base, signal } = this;
    const batches = await pictureBatches({ base, signal }, items, options);
    if (batches > 0) {
      const { guidanceScale, samplingSteps, sampler = base.defaultSampler } = options;
      const draw = (steps: number) =>
        this.ledger.sample(() =>
          base.generate(
            Array.from({ length: TOGETHER }, (_, at) => items[at % items.length]!.prompt),
            { steps, guidanceScale, sampler, ...(signal === undefined ? {} : { signal }) },
          ),
        );
      const evaluations = (steps: number): number =>
        samplerNamed(sampler).timesteps(base.schedule, steps).length;
      const steps = evaluations(samplingSteps);
      const [few, more] = [await draw(FEW), await draw(MORE)];
      const [from, to] = [evaluations(FEW), evaluations(MORE)];
      const whole = plus(few, { seconds: (more.seconds - few.seconds) / (to - from), evaluations: few.evaluations / from }, steps - from); // prettier-ignore
      this.ledger.note("picture", batches * TOGETHER, plus(NOTHING, whole, batches));
    }
    const side = base.imageSize;
    const grey = new Image(side, side, new Uint8Array(side * side * 3).fill(128));
    return { length: items.length, path: () => grey, image: () => Promise.resolve(grey) };
  }

  override async pictureLatents(images: readonly (Image | string)[], mirrored = false): Promise<Tensor> {
    const some = images.slice(0, TOGETHER);
    const rest = images.length / some.length - 1;
    let latents!: Tensor;
    const spent = await this.ledger.sample(async () => {
      latents = await super.pictureLatents(some, mirrored);
    });
    this.ledger.note("encoded picture", images.length, plus(spent, spent, rest));
    const half = (offset: number) => images.map((_, at) => offset + (at % some.length));
    return latents.rows([...half(0), ...(mirrored ? half(some.length) : [])]);
  }

  override async kept<I>(items: readonly I[], making: Making<I>): Promise<Tensor[]> {
    const missing = await missingItems(items, making);
    const some = (missing.length === 0 ? items : missing).slice(0, making.together);
    let made: readonly Tensor[] = [];
    const spent = await this.ledger.sample(async () => {
      made = await making.make(some);
    });
    this.ledger.note(making.what, missing.length, plus(NOTHING, spent, missing.length / some.length));
    return items.map((_, at) => made[at % made.length]!);
  }

  override fruitless(): void {
    // A few iterations need not have an effect.
  }

  override async latents(
    options: TrajectoryOptions,
    texts: LatentTexts,
    name = "latents",
  ): Promise<LatentSource> {
    const { towards } = texts;
    const count = "context" in towards ? towards.context.shape[0]! : towards.count;
    const source =
      typeof options.latents === "string" ? null : new NoiseSource(this, options.batchSize, count);
    const rehearsed = source === null ? await this.counted(options, texts) : new RehearsedLatents(source);
    this.sources.push(rehearsed);
    return this.part(name, rehearsed);
  }

  private async counted(options: TrajectoryOptions, texts: LatentTexts): Promise<RehearsedLatents> {
    let sampler: CountingSampler | undefined;
    const source = await openLatents(this, options, texts, (...given) => {
      sampler = new CountingSampler(...given);
      this.samplers.push(sampler);
      return sampler;
    });
    return new RehearsedLatents(source, sampler);
  }

  /** Steps of trajectories, for what one of either kind takes. */
  private async noteTrajectories(sampler: CountingSampler): Promise<void> {
    for (const kind of ["both", "one"] as const) {
      const filling = sampler.filling[kind];
      const going = sampler.steps[kind] - filling;
      const timed: number[] = [];
      while (unsure(timed) && timed.length < filling + going) {
        const step = (): Promise<Tensor> => sampler.take(kind === "one").then((latents) => latents.settled());
        timed.push((await this.ledger.sample(() => scope(step))).seconds);
      }
      if (timed.length === 0) continue;
      const one = { seconds: median(timed), evaluations: kind === "both" ? 2 : 1 };
      if (filling > 0) this.ledger.note(PARTS.filling, filling, plus(NOTHING, one, filling));
      if (going > 0) this.ledger.note(PARTS.going, going, plus(NOTHING, one, going));
    }
  }
}

/** Whether to time once more. */
function unsure(timed: readonly number[]): boolean {
  return timed.length < TIMES && timed.reduce((sum, seconds) => sum + seconds, 0) < SECONDS;
}

/** a + times b. */
function plus(a: Spending, b: Spending, times: number): Spending {
  return { seconds: a.seconds + times * b.seconds, evaluations: a.evaluations + times * b.evaluations };
}

/** What `steps` take, where FEW take `few`, and MORE, or all where there are fewer, take `more`. */
function along(few: Spending, more: Spending, steps: number): Spending {
  const slope = (kind: keyof Spending) => (more[kind] - few[kind]) / (Math.min(MORE, steps) - FEW);
  const at = (kind: keyof Spending) => few[kind] + slope(kind) * (steps - FEW);
  return { seconds: at("seconds"), evaluations: at("evaluations") };
}
