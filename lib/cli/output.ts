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

/** A reader that has gone (`| head`) is no failure: what a command makes lies in files. */
export function ignoreClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  }
}

/** Says the library's warnings as it says everything, in place of Node's form with process id and code. */
export function sayWarnings(): void {
  const others = process.listeners("warning");
  process.removeAllListeners("warning");
  process.on("warning", (warning: Error & { code?: string }) => {
    if (warning.code?.startsWith("KPOP_") === true) say(`warning: ${warning.message}`);
    else for (const listener of others) listener(warning);
  });
}
