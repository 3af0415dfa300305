import { constants } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { GRACE_MS } from "../../../lib/cli/interrupt";
import { packageCopy, runScript } from "../../support/package-copy";
import { temporaryFolders } from "../../support/temporary";

const folder = temporaryFolders();
let root: string;

beforeAll(() => {
  root = packageCopy(folder(), ["lib/cli/interrupt.ts", "lib/cli/output.ts"]);
});

/** Ends half a second after it is asked to stop. */
const HEEDING = `new Promise((end) => {
  const busy = setInterval(() => {}, 1000);
  signal.addEventListener("abort", () => setTimeout(() => (clearInterval(busy), end()), 500));
})`;
const STUCK = "new Promise(() => setInterval(() => {}, 1000))";

interface Ended {
  /** As a shell has it: of a process that a signal ended, 128 and the signal's number. */
  status: number;
  stdout: string;
  stderr: string;
  /** After the first signal. */
  ms: number;
}

/** Sends signals, each some milliseconds after the one before, to a program that runs `work` and then `after`. */
async function signalled(
  signals: readonly [NodeJS.Signals, number][],
  work: string,
  { graceMs = GRACE_MS, after = "" } = {},
): Promise<Ended> {
  const code = `
    const { interruptible } = require("./lib/cli/interrupt");
    interruptible("tidying up", (signal) => (console.log("at work"), ${work}), ${graceMs})
      .then(() => { console.log("done"); ${after} });`;
  const { child, ended, said } = runScript(root, code);
  await said("at work");
  const start = Date.now();
  for (const [name, ms] of signals) {
    await sleep(ms);
    child.kill(name);
  }
  const { code: exit, signal, ...output } = await ended;
  return { status: exit ?? 128 + constants.signals[signal!], ms: Date.now() - start, ...output };
}

describe("interruptible", () => {
  it("gives 30 seconds unless told otherwise", () => {
    expect(GRACE_MS).toBe(30_000);
  });

  it.each<NodeJS.Signals>(["SIGINT", "SIGTERM"])("lets the work end after %s", async (name) => {
    const { status, stdout, stderr } = await signalled([[name, 0]], HEEDING);
    expect({ status, stdout }).toEqual({ status: 0, stdout: "at work\ndone\n" });
    const until = name === "SIGINT" ? "interrupt again to quit at once" : "for 30 s at most";
    expect(stderr).toBe(`\nStopping: tidying up (${until})\n`);
  });

  it("quits at once at a second SIGINT, but not at its echo", async () => {
    const echoed = await signalled([["SIGINT", 0], ["SIGINT", 100]], HEEDING); // prettier-ignore
    expect(echoed).toMatchObject({ status: 0, stdout: "at work\ndone\n" });
    for (const first of ["SIGINT", "SIGTERM"] as const) {
      const twice = await signalled([[first, 0], ["SIGINT", 700]], STUCK); // prettier-ignore
      expect(twice).toMatchObject({ status: 130, stdout: "at work\n" });
    }
  });

  it("takes SIGTERM as an order once, however often it comes", async () => {
    const often: [NodeJS.Signals, number][] = [["SIGTERM", 0], ["SIGTERM", 50], ["SIGTERM", 400]]; // prettier-ignore
    const { status, stdout } = await signalled(often, HEEDING);
    expect({ status, stdout }).toEqual({ status: 0, stdout: "at work\ndone\n" });
    const late = await signalled([["SIGTERM", 0], ["SIGTERM", 700]], HEEDING, { after: "setTimeout(() => {}, 500)" }); // prettier-ignore
    expect(late.status).toBe(0);
  });

  it.each<[string, [NodeJS.Signals, number][], string, string]>([
    ["one SIGTERM", [["SIGTERM", 0]], STUCK, ""],
    ["several", [["SIGTERM", 0], ["SIGTERM", 600]], STUCK, ""], // prettier-ignore
    ["one that follows a SIGINT", [["SIGINT", 0], ["SIGTERM", 10]], STUCK, ""], // prettier-ignore
    [
      "one, where what comes after the work is stuck",
      [["SIGTERM", 0]],
      HEEDING,
      "setInterval(() => {}, 1000)",
    ],
  ])("leaves with 143 when the grace is over, of %s", async (_name, signals, work, after) => {
    const { status, ms, stderr } = await signalled(signals, work, { graceMs: 1200, after });
    expect(status).toBe(143);
    expect(ms).toBeGreaterThan(1100);
    expect(ms).toBeLessThan(10_000);
    expect(stderr).toMatch(/^Not stopped after 1\.2 s: leaving$/m);
  });
});
