/** One JSON object as a line on stdout: the only thing there under --json. */
export function emit(event: object): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

/** A result for people, on stdout. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Words on the way, on stderr. */
export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** What the library warns of, as a sentence on stderr in place of Node's form with process number and trace hint. */
export function sayWarnings(): void {
  process.removeAllListeners("warning");
  process.on("warning", ({ message }) => say(`warning: ${message}`));
}

/** A reader that has gone (`| head`) is no failure: what a command makes lies in files. */
export function ignoreClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  }
}
