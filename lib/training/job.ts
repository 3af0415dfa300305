import { tell } from "../check";
import { traceStep } from "../diagnostics";
import { KpopError, throwIfAborted } from "../errors";
import { Random } from "../runtime/random";
import { keep, scope, type Disposable } from "../runtime/scope";
import { Tensor, type Dtype } from "../runtime/tensor";
import { EvaluationCounter } from "./evaluations";
import { lossScale } from "./loss-scale";
import { Player, type Losses, type PlayerOptions } from "./player";
import type { ParsedRunOptions } from "./run-options";
import { RunState, type StatePart } from "./run-state";
import type { PrepareReport, StepReport } from "./step-report";

/** What a job is told by its caller. */
export interface JobSettings extends ParsedRunOptions {
  readonly onPrepare?: ((report: PrepareReport) => void) | undefined;
  /** Where it computes. */
  readonly device: string;
  /** What its networks compute in. */
  readonly dtype: Dtype;
  /** Hashes all that the result depends on; asked where a state is kept. */
  readonly identity: () => Promise<string>;
}

/** Steps after which losses are read on a GPU, which would wait for each of them else. */
const STEPS_TOGETHER = 10;

/**
 * A long run: it owns what it makes and frees it however the run ends, counts evaluations, and drives iterations, so that
 * cancelling, reporting, saving and resuming are the same for everything that learns.
 */
export class Job {
  readonly random: Random;
  readonly signal: AbortSignal | undefined;
  readonly evaluations = new EvaluationCounter();
  readonly history: StepReport[] = [];
  private readonly parts = new Map<string, StatePart>();
  private readonly owned: Disposable[] = [];
  private readonly state: RunState;
  /** Whether the state is that of the iterations done, with nothing of the next. */
  private whole = true;
  /** When the first closed form began. */
  private began: number | undefined;
  /** Iterations of all stages until now, those that a resumed run passes over among them. */
  private staged = 0;
  /** Where iterations began, or went on; undefined before. */
  private entry: { iteration: number; seconds: number; at: number } | undefined;
  /** Parts that were prepared or restored. */
  private readonly ready = new Set<StatePart>();

  constructor(protected readonly settings: JobSettings) {
    this.random = new Random(settings.seed);
    this.signal = settings.signal;
    this.state = new RunState(settings.checkpoint, settings.resume, settings.identity);
  }

  /** Runs the whole. Tensors made inside are freed at its end, but for what `body` returns. */
  async run<T>(body: () => Promise<T>): Promise<T> {
    try {
      return await this.evaluations.run(() => scope(body));
    } finally {
      try {
        for (const part of this.parts.values()) await part.close?.();
      } finally {
        for (const item of this.owned.reverse()) item.dispose();
      }
    }
  }

  /** Whether a state is kept that a later run may go on from. */
  get keepsState(): boolean {
    return this.state.path !== undefined;
  }

  /** Keeps what scopes within the job would free, until the job ends. */
  hold<T extends Disposable>(item: T): T {
    this.owned.push(keep(item));
    return item;
  }

  /** Adam over tensors that are moved in place and saved with the run. */
  async learn(name: string, learned: ReadonlyMap<string, Tensor>, options: PlayerOptions): Promise<Player> {
    const scaled = { lossScale: lossScale(this.settings.dtype), ...options };
    const player = await Player.create(learned, scaled, () => (this.whole = false));
    return this.part(name, this.hold(player));
  }

  /** Makes `count` things that the run begins with, one after the other. */
  async each(count: number, make: (index: number) => Promise<void>): Promise<void> {
    for (let index = 0; index < count; index++) await make(index);
  }

  /** Does something that takes so many steps before the run's own. */
  stepping<T extends Disposable>(steps: number, run: (steps: number) => Promise<T>): Promise<T> {
    return run(steps);
  }

  /** The run has had no effect. @throws what it is given */
  fruitless(error: KpopError): void {
    throw error;
  }

  /** Adds to what is saved and restored. */
  part<P extends StatePart>(name: string, part: P): P {
    this.parts.set(name, part);
    return part;
  }

  /** Tells how far the run is with what it makes before its first step, and looks at the signal. */
  async prepared(what: string, done: number, total: number, started: number): Promise<void> {
    throwIfAborted(this.signal);
    const etaSeconds = ((performance.now() - started) / 1000 / done) * (total - done);
    await tell(this.settings.onPrepare, { what, done, total, etaSeconds });
  }

  /**
   * Goes on from the saved state, or prepares its parts; then iterates, reports and saves. The signal is looked at where
   * the state is whole, so an aborted run can be resumed.
   *
   * A run of several stages iterates once for each. A resumed one passes over those that are behind it: what stands between
   * them runs again, on parts that are not restored yet, and is to do no harm there.
   * @param step one iteration, 0 first, counted through all stages; what it makes is freed at its end, but for its losses
   * @param enough whether the state as it is needs no more iterations; asked before each
   * @param total iterations of all stages. Default: there is one
   * @throws NUMERIC_FAILURE when a loss is no number any more; the state saved before stays
   */
  async iterate(
    iterations: number,
    step: (iteration: number) => Promise<Losses>,
    enough = (): boolean => false,
    total = iterations,
  ): Promise<void> {
    const end = this.staged + iterations;
    const begin = await this.enter(this.staged, end);
    this.staged = end;
    if (begin === null) return;
    const { iteration: first, seconds: spent, at } = this.entry!;
    const seconds = (): number => spent + (performance.now() - at) / 1000;
    const pending: Losses[] = [];
    const every = this.settings.device === "cpu" ? 1 : STEPS_TOGETHER;
    let done = begin;
    let saved = begin;

    const read = async (): Promise<void> => {
      const losses = await readLosses(pending.splice(0));
      const elapsed = seconds();
      for (const [index, values] of losses.entries()) {
        const iteration = done - losses.length + index + 1;
        checkFinite(values, iteration, this.state.path);
        const etaSeconds = ((elapsed - spent) / (iteration - first)) * (total - iteration);
        this.history.push({ iteration, iterations: total, losses: values, seconds: elapsed, etaSeconds });
      }
    };
    const save = async (): Promise<void> => {
      const evaluations = this.evaluations.total;
      const progress = { iteration: done, seconds: seconds(), evaluations, history: this.history };
      await this.state.save(this.parts, progress);
      saved = done;
    };
    // A state that is due is on disk before its iteration is told of: whoever stops there loses nothing.
    const settle = async (saving: boolean): Promise<void> => {
      const told = this.history.length;
      try {
        await read();
        if (saving) await save();
      } finally {
        for (const report of this.history.slice(told)) await this.tellStep(report);
      }
    };
    let over = done === end || enough();
    while (!over) {
      this.whole = true;
      try {
        throwIfAborted(this.signal);
        pending.push(keep(await scope(() => step(done))));
      } catch (error) {
        const stopped = error instanceof KpopError && error.code === "ABORTED";
        if (stopped && this.whole && saved !== done) await settle(true);
        for (const loss of pending.flatMap((losses) => Object.values(losses)))
          if (loss instanceof Tensor) loss.dispose();
        throw error;
      }
      done += 1;
      over = done === end || enough();
      const due = this.state.due(done) || (over && this.state.path !== undefined);
      if (due || pending.length === every || over) await settle(due);
    }
  }

  /**
   * Restores the parts where the saved state is of this stage, or prepares those that are new.
   * @returns the iteration to begin at; null where the stage is behind a resumed run
   */
  private async enter(start: number, end: number): Promise<number | null> {
    const restored = this.entry === undefined ? await this.state.restore(this.parts, end) : null;
    if (restored !== null && restored.iteration > end) return null;
    if (restored === null) await this.prepareParts();
    for (const part of this.parts.values()) this.ready.add(part);
    const begin = restored?.iteration ?? start;
    if (this.entry !== undefined) return begin;
    if (restored !== null) this.evaluations.resume(restored.evaluations);
    for (const report of restored?.history ?? []) await this.report(report);
    this.entry = { iteration: begin, seconds: restored?.seconds ?? 0, at: performance.now() };
    return begin;
  }

  /** Prepares the parts that are new. */
  protected async prepareParts(): Promise<void> {
    for (const part of this.parts.values()) {
      if (!this.ready.has(part)) await part.prepare?.();
      this.ready.add(part);
    }
  }

  /**
   * Solves `count` parts of a closed form, one after the other, and reports each. It keeps no state.
   * @param total of all parts, where a form is called for in several goes
   */
  async closedForm(count: number, solve: (index: number) => Promise<Losses>, total = count): Promise<void> {
    this.began ??= performance.now();
    for (let index = 0; index < count; index++) {
      throwIfAborted(this.signal);
      const [losses] = await scope(async () => readLosses([await solve(index)]));
      const seconds = (performance.now() - this.began) / 1000;
      const iteration = this.history.length + 1;
      const etaSeconds = (seconds / iteration) * (total - iteration);
      checkFinite(losses!, iteration, undefined);
      await this.report({ iteration, iterations: total, losses: losses!, seconds, etaSeconds });
    }
  }

  /** Tells of a step, and remembers it. */
  async report(report: StepReport): Promise<void> {
    this.history.push(report);
    await this.tellStep(report);
  }

  private async tellStep(report: StepReport): Promise<void> {
    traceStep(report);
    await tell(this.settings.onStep, report);
  }
}

/** The values of several steps' losses, read in one transfer; those that are null are left out. */
async function readLosses(steps: readonly Losses[]): Promise<Record<string, number>[]> {
  const tensors = steps.flatMap((losses) => Object.values(losses)).filter((loss) => loss instanceof Tensor);
  const values =
    tensors.length === 0
      ? []
      : await scope(() => Tensor.stack(tensors.map((loss) => loss.detach().to("float64"))).data());
  const next = Array.from(values, Number)[Symbol.iterator]();
  const read = steps.map((losses) =>
    Object.fromEntries(
      Object.entries(losses)
        .filter((entry): entry is [string, Tensor | number] => entry[1] !== null)
        .map(([name, loss]) => [name, typeof loss === "number" ? loss : (next.next().value as number)]),
    ),
  );
  for (const tensor of tensors) tensor.dispose();
  return read;
}

function checkFinite(losses: Record<string, number>, iteration: number, path: string | undefined): void {
  for (const [name, value] of Object.entries(losses)) {
    if (Number.isFinite(value)) continue;
    const kept =
      path === undefined
        ? "give a checkpoint directory to keep intermediate states"
        : `the state saved before is in ${path}`;
    throw new KpopError(
      "NUMERIC_FAILURE",
      `The loss "${name}" became ${value} at iteration ${iteration}: lower the learning rates; ${kept}`,
    );
  }
}
