import { SingleBar } from "cli-progress";
import { machineLoad } from "../internal";
import { duration, plural } from "./format";
import { say } from "./output";

const LINE_EVERY_MS = 10_000;
/** Seconds after which the first estimate is taken: what the first steps take longer is behind by then. */
const ESTIMATE_AFTER = 3;
/** How much longer than first estimated a job may take without a word. */
const FAR_BEHIND = 2;

/** How far a job is: a bar on a terminal, else a line on stderr now and then. */
export class Progress {
  private bar: SingleBar | null = null;
  private lastLine = 0;
  private started: number | null = null;
  /** Seconds that the whole was to take; null before there is an estimate, Infinity when the delay was told. */
  private estimate: number | null = null;

  /**
   * @param label what is counted, such as "iteration"
   * @param json whether stdout carries JSON
   * @param machine how busy the machine is
   */
  constructor(
    private readonly label: string,
    json: boolean,
    private readonly machine = machineLoad,
  ) {
    // A bar amid JSON lines on one screen would break both.
    if (!process.stderr.isTTY || (json && process.stdout.isTTY)) return;
    this.bar = new SingleBar({
      format: `{bar} {value}/{total} ${label}s  {details}`,
      barsize: 16,
      barCompleteChar: "█",
      barIncompleteChar: "░",
      // A hidden cursor would stay hidden when a second interrupt kills the process.
      hideCursor: false,
      gracefulExit: false,
      linewrap: true,
      stream: process.stderr,
    });
  }

  /** @param details what else there is to say   @param etaSeconds the time that is left; Infinity where it is not known */
  update(done: number, total: number, details: string, etaSeconds: number): void {
    this.compareWithEstimate(etaSeconds);
    const remaining = done < total && Number.isFinite(etaSeconds) ? `${duration(etaSeconds)} left` : "";
    const text = [remaining, details].filter((part) => part !== "").join("  ");
    if (this.bar !== null) {
      if (!this.bar.isActive) this.bar.start(total, 0, { details: "" });
      this.bar.update(done, { details: text });
      return;
    }
    const now = performance.now();
    if (this.lastLine > 0 && done < total && now - this.lastLine < LINE_EVERY_MS) return;
    this.lastLine = now;
    say(`${this.label} ${done} of ${total}  ${text}`.trimEnd());
  }

  /** Says once that the job falls far behind its first estimate where other programs are why, and what to do. */
  private compareWithEstimate(etaSeconds: number): void {
    this.started ??= performance.now();
    const elapsed = (performance.now() - this.started) / 1000;
    if (elapsed < ESTIMATE_AFTER || !Number.isFinite(etaSeconds)) return;
    const whole = elapsed + etaSeconds;
    this.estimate ??= whole;
    if (whole < FAR_BEHIND * this.estimate) return;
    const { cores, load } = this.machine();
    if (load <= cores) return;
    const first = duration(this.estimate);
    this.estimate = Infinity;
    this.bar?.stop();
    say(
      `This takes ${duration(whole)} and not ${first}, as it looked at first: other programs need the processor (load ${load.toFixed(1)} on ${plural(cores, "core")}). ` +
        "On a busy machine OMP_NUM_THREADS=1 is often faster; `kpop-native doctor` tells more",
    );
  }

  /** Leaves the last state on the screen; what follows begins a new line. */
  stop(): void {
    this.bar?.stop();
    this.bar = null;
  }
}
