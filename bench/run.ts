/** The benchmark's entry: `npm run bench` compares the methods, `npm run bench -- speed` measures speed. */
import { KpopError } from "../lib/index";
import { compare } from "./compare";
import { HELP } from "./options";
import { speed } from "./speed/run";
import { TRIALS } from "./speed/trials";
import { runTrial, type Assignment } from "./worker";

async function main(args: readonly string[]): Promise<number> {
  const [first, second] = args;
  if (first === "--help" || first === "-h") {
    console.log(HELP);
    return 0;
  }
  if (first === "--trial") {
    await runTrial(JSON.parse(second ?? "") as Assignment);
    return 0;
  }
  const named = TRIALS.some(({ name }) => name === first);
  if (first === "speed" || named) {
    await speed(named ? args : args.slice(1), __filename);
    return 0;
  }
  return compare(args, __filename, (sentence) => console.error(sentence));
}

main(process.argv.slice(2)).then(
  (code) => (process.exitCode = code),
  (error: unknown) => {
    if (error instanceof KpopError) console.error(`${error.code}: ${error.message}`);
    // The message comes last, where the runner looks for it.
    else console.error(error instanceof Error ? `${error.stack}\n${error.message}` : error);
    process.exitCode = error instanceof KpopError && error.code === "INVALID_ARGUMENT" ? 2 : 1;
  },
);
