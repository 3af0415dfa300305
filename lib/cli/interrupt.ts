import { say } from "./output";

const SIGNALS = ["SIGINT", "SIGTERM"] as const;
/** npm passes a Ctrl-C on to a program that the terminal has already told. */
const ECHO_MS = 300;

/**
 * Runs work that the first SIGINT or SIGTERM asks to stop, through its signal; the second kills the process at once.
 * @param what is being done then, for the message
 */
export async function interruptible<T>(what: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const restore = () => SIGNALS.forEach((name) => process.removeListener(name, stop));
  function stop(): void {
    if (controller.signal.aborted) return;
    controller.abort();
    setTimeout(restore, ECHO_MS).unref();
    say(`\nStopping: ${what} (interrupt again to quit at once)`);
  }
  SIGNALS.forEach((name) => process.on(name, stop));
  try {
    return await work(controller.signal);
  } finally {
    restore();
  }
}
