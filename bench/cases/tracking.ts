import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import {
  ClipScorer,
  erase,
  ImageClassifier,
  safetensors,
  scope,
  type StableDiffusion,
  type EraseOptions,
  type Tensor,
} from "../../lib/index";
import { RUN_STATE_FILE } from "../../lib/internal";
import { methodOf } from "../entrants";
import { loadModel } from "../measure/erasure";
import type { Series, TrialOutcome, TrialSpec } from "../results";
import { mean } from "../statistics";
import { trialSpec, type Case, type PlanContext, type TrialContext } from "./case";

/** Figure 4: one concept erased, looked at along the way. */
export const tracking: Case = { trials, measure };

function trials({ protocol, settings, optionsOf }: PlanContext): TrialSpec[] {
  const { concept, methods } = protocol.tracking;
  const tracked = methods.filter((method) => settings.methods.includes(method));
  return tracked.map((method) =>
    trialSpec({
      name: `tracking-${method}`,
      experiment: "tracking",
      method,
      label: concept,
      options: optionsOf(method),
      erased: [concept],
      imagesPerClass: settings.quick ? 2 : 4,
    }),
  );
}

/** A run's saved state at one iteration; iteration 0 is the model as it came. */
interface Snapshot {
  iteration: number;
  path: string | null;
}

async function measure(context: TrialContext): Promise<TrialOutcome> {
  const { settings } = context;
  using model = await loadModel(settings); // prettier-ignore
  const snapshots = await train(context, model);
  using observer = await Observer.create(context, model);
  for (const snapshot of snapshots) await observer.look(snapshot);
  return { series: observer.series };
}

/** Runs the erasure and keeps its state every few iterations. */
async function train(context: TrialContext, model: StableDiffusion): Promise<Snapshot[]> {
  const { spec, settings, protocol, work } = context;
  const { every } = protocol.tracking;
  const state = join(work, "state");
  mkdirSync(join(work, "snapshots"), { recursive: true });
  const snapshots: Snapshot[] = [{ iteration: 0, path: null }];
  const erasure = await erase(model, {
    ...spec.options,
    method: methodOf(spec.method),
    concepts: spec.erased,
    seed: settings.seed,
    checkpoint: { directory: state, every },
    resume: true,
    onStep: ({ iteration }) => {
      if (iteration % every !== 0) return;
      const path = join(work, "snapshots", `${iteration}.safetensors`);
      // A resumed run tells its past again, whose states are kept already.
      if (!existsSync(path)) copyFileSync(join(state, RUN_STATE_FILE), path);
      snapshots.push({ iteration, path });
    },
  } as EraseOptions);
  erasure.dispose();
  return snapshots;
}

/** Puts one state after the other into the model, and writes down what it makes. */
class Observer {
  readonly series: Series[] = [];

  private constructor(
    private readonly context: TrialContext,
    private readonly model: StableDiffusion,
    private readonly scorer: ClipScorer | null,
    private readonly classifier: ImageClassifier,
    /** Means over a text's words, (d) each. */
    private readonly texts: ReadonlyMap<string, readonly number[]>,
  ) {}

  static async create(context: TrialContext, model: StableDiffusion): Promise<Observer> {
    const { settings, protocol } = context;
    const texts = new Map<string, number[]>();
    for (const text of protocol.tracking.texts) texts.set(text, await meanOfWords(model, text));
    const scorer = settings.clip === null ? null : await ClipScorer.load(settings.clip);
    return new Observer(context, model, scorer, await ImageClassifier.load(settings.classifier), texts);
  }

  async look({ iteration, path }: Snapshot): Promise<void> {
    if (path !== null) {
      const state = await safetensors.load(path);
      await scope(() => this.adopt(state));
      const prompt = state.get("prompt.0");
      if (prompt !== undefined) {
        const rows = await rowsOf(prompt);
        const average = meanRow(rows);
        for (const [text, words] of this.texts) this.add("prompt", text, iteration, cosine(average, words));
      }
      for (const tensor of state.values()) tensor.dispose();
    }
    await this.judge(iteration);
  }

  /** The weights of a saved state into the model. */
  private async adopt(state: ReadonlyMap<string, Tensor>): Promise<void> {
    const { unet, dtype, device } = this.model;
    for (const [name, tensor] of state) {
      if (name.startsWith("weight."))
        await unet.parameter(name.slice("weight.".length)).copyFrom(tensor.to({ dtype, device }));
    }
  }

  private async judge(iteration: number): Promise<void> {
    const { spec, settings, protocol } = this.context;
    const { concept, neutral } = protocol.tracking;
    const prompt = protocol.prompt.replace("{}", concept);
    const { steps, guidanceScale, seed } = settings;
    const options = { steps, guidanceScale, seed, count: spec.imagesPerClass };
    const erased = await this.model.generate(prompt, options); // x_e
    const plain = await this.model.generate(neutral, options); // x_n
    const { scorer } = this;
    if (scorer !== null) {
      const pairs = [
        { name: "x_e with the concept", images: erased, text: prompt },
        { name: "x_e with the neutral prompt", images: erased, text: neutral },
        { name: "x_n with the neutral prompt", images: plain, text: neutral },
      ];
      for (const { name, images, text } of pairs) {
        const scores = await scorer.score(images, images.map(() => text)); // prettier-ignore
        this.add("alignment", name, iteration, mean(scores) / 100);
      }
      return;
    }
    const index = this.classifier.indexOf(concept);
    for (const [name, images] of [["x_e seen as the concept", erased], ["x_n seen as the concept", plain]] as const) {
      const rankings = await this.classifier.classify(images);
      const probabilities = rankings.map(({ indices, probabilities: of }) => of[indices.indexOf(index)]!);
      this.add("alignment", name, iteration, mean(probabilities));
    } // prettier-ignore
  }

  private add(group: Series["group"], name: string, iteration: number, value: number): void {
    let series = this.series.find((one) => one.group === group && one.name === name);
    if (series === undefined) this.series.push((series = { group, name, points: [] }));
    series.points.push([iteration, value]);
  }

  [Symbol.dispose](): void {
    this.scorer?.dispose();
    this.classifier.dispose();
  }
}

/** The mean of a text's rows without the start and end tokens. */
async function meanOfWords(model: StableDiffusion, text: string): Promise<number[]> {
  const [ids] = model.tokenizer.encode(text, { padding: false });
  const encoded = await model.encode(text); // (1, L, d)
  const rows = await rowsOf(encoded.slice(0, 0, 1).reshape(encoded.shape.slice(1)));
  encoded.dispose();
  return meanRow(rows.slice(1, ids!.length - 1));
}

async function rowsOf(matrix: Tensor): Promise<number[][]> {
  const [count, width] = matrix.shape as [number, number];
  const data = Array.from((await matrix.to("float32").data()) as Float32Array);
  return Array.from({ length: count }, (_, row) => data.slice(row * width, (row + 1) * width));
}

function meanRow(rows: readonly (readonly number[])[]): number[] {
  return rows[0]!.map((_, column) => mean(rows.map((row) => row[column]!)));
}

function cosine(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]): number =>
    x.reduce((sum, value, index) => sum + value * y[index]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}
