import { spawn } from "node:child_process";

const TAIL_LINES = 60;
const QUIET_MS = 10_000;

/**
 * Runs one step of the set-up and prints a line for it. `plan` gives null when there is nothing to do, else the work;
 * what the work returns is shown.
 */
export async function step(name, plan, context) {
  const started = performance.now();
  const label = name.padEnd(14);
  const work = await plan(context);
  if (work === null) {
    console.log(`${label} up to date`);
    return;
  }
  let shown = started;
  const say = (line) => {
    if (performance.now() - shown < QUIET_MS) return;
    shown = performance.now();
    console.log(`${label} ... ${line}`);
  };
  const result = await work((command, args) => run(command, args, say), say);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${label} ${result ?? "done"} (${seconds} s)`);
}

/** Runs a program; its output is shown only when it fails, save for a line now and then as a sign of life. */
function run(command, args, say) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    const tail = [];
    for (const stream of [child.stdout, child.stderr]) {
      let rest = "";
      stream.setEncoding("utf8").on("data", (text) => {
        const lines = (rest + text).split("\n");
        rest = lines.pop();
        for (const line of lines.filter((each) => each.trim() !== "")) {
          tail.push(line);
          if (tail.length > TAIL_LINES) tail.shift();
          say(line.trim());
        }
      });
    }
    const fail = (reason) =>
      reject(new Error([`\`${[command, ...args].join(" ")}\` ${reason}`, ...tail].join("\n  ")));
    child.on("error", (error) => fail(`could not start: ${error.message}`));
    child.on("close", (code, signal) =>
      code === 0 ? resolve() : fail(`ended with ${signal ?? `exit code ${code}`}`),
    );
  });
}
