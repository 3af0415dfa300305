/**
 * Lets a program go on whose words nobody takes: what it makes lies in files. A reader that has gone (`| head`) is no failure;
 * results that could not be written to stdout, on a full disk, are, and are told of once.
 */
export function outliveClosedStreams(): void {
  let told = false;
  process.stderr.on("error", () => undefined);
  process.stdout.on("error", ({ code, message }: NodeJS.ErrnoException) => {
    if (code === "EPIPE" || told) return;
    told = true;
    process.stderr.write(`IO_ERROR: Cannot write to stdout: ${message}\n`);
    process.on("exit", () => (process.exitCode ||= 1));
  });
}
