import { SingleBar } from "cli-progress";
import { duration } from "./format";
import { say } from "./output";

const LINE_EVERY_MS = 10_000;

/** How far a job is: a bar on a terminal, else a line on stderr now and then. */
export class Progress {
  private bar: SingleBar | null = null;
  private lastLine = 0;

  /** @param label what is counted, such as "iteration"   @param json whether stdout carries JSON */
  constructor(
    private readonly label: string,
    json: boolean,
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

  /** @param details what else there is to say   @param etaSeconds the time that is left */
  update(done: number, total: number, details: string, etaSeconds: number): void {
    const remaining = done < total ? `${duration(etaSeconds)} left` : "";
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

  /** Leaves the last state on the screen; what follows begins a new line. */
  stop(): void {
    this.bar?.stop();
    this.bar = null;
  }
}
