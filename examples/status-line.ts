/** Progress on standard error: one line that is written over on a terminal, a line for each milestone elsewhere. */
export class StatusLine {
  private readonly terminal = process.stderr.isTTY;

  /** @param milestone whether it is worth a line of its own where lines can't be written over */
  update(text: string, milestone: boolean): void {
    if (this.terminal) process.stderr.write(`\r\x1b[2K${text.slice(0, process.stderr.columns - 1)}`);
    else if (milestone) process.stderr.write(`${text}\n`);
  }

  /** Ends a stage with a line that stays. */
  done(text: string): void {
    process.stderr.write(this.terminal ? `\r\x1b[2K${text}\n` : `${text}\n`);
  }
}
