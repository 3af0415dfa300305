import { join } from "node:path";
import { rate, type Rate } from "../evaluation/rates";
import { sha256File } from "../files/sha256-file";
import { EvaluationCounter } from "../training/evaluations";
import { saveInput, savePicture } from "./attack-files";
import type { ParsedAttackOptions } from "./attack-options";
import type { AttackInput } from "./input";
import type { MeasuredInput, MeasuredInputs } from "./measured-inputs";
import type { Target } from "./target";

/** An input that was found, and how often it brings the concept back. */
export interface AttackedInput extends AttackInput {
  /** Share of its pictures that show the concept. */
  rate: Rate;
}

/** What the pictures say. */
export interface Measured {
  before: Rate;
  after: Rate;
  original?: Rate;
  inputs: AttackedInput[];
  measuringEvaluations: number;
}

/**
 * Draws and judges: the plain name on both models, then every input.
 * @param kept what was measured already, if that is kept
 */
export async function measure(
  target: Target,
  original: Target | null,
  inputs: readonly AttackInput[],
  o: ParsedAttackOptions,
  kept: MeasuredInputs | null,
): Promise<Measured> {
  const { imagesPerInput, directory, prompt } = o;
  const plain: AttackInput = { name: "name", prompt };
  const common = { seed: o.run.seed + (o.images?.length ?? o.pictures), count: imagesPerInput };
  const ranges = inputs.map(({ seed }) => (seed === undefined ? common : { seed, count: 1 }));
  const plainRanges = inputs.every(({ seed }) => seed !== undefined) ? ranges : [common];
  const size = (some: readonly { count: number }[]): number =>
    some.reduce((sum, { count }) => sum + count, 0);
  const clock = new Clock(size(ranges) + size(plainRanges) * (original === null ? 1 : 2), o.onProgress);

  let measuringEvaluations = 0;

  const draw = async (
    by: Target,
    input: AttackInput,
    { seed, count }: { seed: number; count: number },
    folder: string | undefined,
  ): Promise<MeasuredInput> => {
    const counter = new EvaluationCounter();
    const verdicts = await counter.run(() => by.try(input, seed, count));
    const pictures: Record<string, string> = {};
    if (folder !== undefined)
      for (const verdict of verdicts) {
        const name = await savePicture(folder, input, verdict);
        pictures[name] = await sha256File(join(folder, name));
      }
    return { hits: verdicts.filter(({ hit }) => hit).length, evaluations: counter.total, pictures };
  };
  const tried = async (
    by: Target,
    input: AttackInput,
    where: readonly { seed: number; count: number }[],
    folder: string | undefined,
  ): Promise<Rate> => {
    let hits = 0;
    for (const range of where) {
      const measured = () => draw(by, input, range, folder);
      const { name } = input;
      const of = by === target ? "attacked" : "original";
      const which = { name, prompt: input.prompt, ...range, of, saved: folder !== undefined };
      const found = kept === null ? await measured() : await kept.find(which, measured);
      hits += found.hits;
      measuringEvaluations += found.evaluations;
      clock.add(range.count);
    }
    return rate(hits, size(where));
  };

  const before = await tried(target, plain, plainRanges, directory);
  const unharmed = original === null ? null : await tried(original, plain, plainRanges, undefined);
  const found: AttackedInput[] = [];
  for (const [i, input] of inputs.entries()) {
    if (directory !== undefined) await saveInput(directory, input);
    found.push({ ...input, rate: await tried(target, input, [ranges[i]!], directory) });
  }
  const hits = found.reduce((sum, input) => sum + input.rate.hits, 0);
  return {
    before,
    after: rate(hits, size(ranges)),
    ...(unharmed === null ? {} : { original: unharmed }),
    inputs: found,
    measuringEvaluations,
  };
}

class Clock {
  private done = 0;
  private readonly started = performance.now();

  constructor(
    private readonly total: number,
    private readonly listener: ParsedAttackOptions["onProgress"],
  ) {}

  add(count: number): void {
    this.done += count;
    const { done, total } = this;
    const etaSeconds = ((performance.now() - this.started) / 1000 / done) * (total - done);
    this.listener?.({ phase: "measure", done, total, etaSeconds });
  }
}
