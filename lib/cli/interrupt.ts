import { say } from "./output";

/** npm passes a Ctrl-C on to a program that the terminal has already told. */
const ECHO_MS = 300;
/** How long work may take to stop after a SIGTERM. */
export const GRACE_MS = 30_000;
const TERMINATED = 143;

/**
 * Runs work that the first SIGINT or SIGTERM asks to stop, through its signal. A second SIGINT kills the process at once.
 * More SIGTERMs do not, as npm and process groups send it twice; but one that is still there after `graceMs` is killed
 * then, its exit status 143.
 * @param what is being done then, for the message
 */
export async function interruptible<T>(
  what: string,
  work: (signal: AbortSignal) => Promise<T>,
  graceMs = GRACE_MS,
): Promise<T> {
  const controller = new AbortController();
  let grace: NodeJS.Timeout | undefined;
  function stop(name: NodeJS.Signals): void {
    if (name === "SIGTERM") grace ??= setTimeout(leave, graceMs, graceMs).unref();
    if (controller.signal.aborted) return;
    controller.abort();
    setTimeout(() => process.removeListener("SIGINT", stop), ECHO_MS).unref();
    const until = name === "SIGTERM" ? `for ${graceMs / 1000} s at most` : "interrupt again to quit at once";
    say(`\nStopping: ${what} (${until})`);
  }
  process.on("SIGINT", stop).on("SIGTERM", stop);
  try {
    return await work(controller.signal);
  } finally {
    process.removeListener("SIGINT", stop);
    // After a SIGTERM the grace is for what is left to do, too, and one that comes twice still counts once.
    if (grace === undefined) process.removeListener("SIGTERM", stop);
  }
}

function leave(graceMs: number): void {
  say(`Not stopped after ${graceMs / 1000} s: leaving`);
  process.removeAllListeners("SIGTERM");
  // By the signal, since process.exit() waits for what libtorch computes. The first process of a container is deaf to it.
  process.kill(process.pid, "SIGTERM");
  process.exit(TERMINATED);
}
