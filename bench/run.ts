/** The benchmark's entry: `npm run bench` compares the methods, `npm run bench -- speed` measures speed. */
import { CommanderError } from "commander";
import { outliveClosedStreams } from "../lib/internal";
import { compare } from "./compare";
import { runProgram } from "./program";
import { measureCase, speed } from "./speed/run";
import { CASES } from "./speed/cases";
import { measureTrial, type Assignment } from "./trial";

outliveClosedStreams();
runProgram<{ compare: Assignment } | { speed: string }>(__filename, {
  async main(args, own, signal) {
    const named = CASES.some(({ name }) => name === args[0]);
    const say = (sentence: string): void => console.error(sentence);
    try {
      return named || args[0] === "speed"
        ? await speed(named ? args : args.slice(1), (name) => own({ speed: name }), { signal, say })
        : await compare(args, (assignment) => own({ compare: assignment }), { signal, say });
    } catch (error) {
      if (error instanceof CommanderError && error.exitCode === 0) return 0; // the help is printed
      throw error;
    }
  },
  trial: (assignment) =>
    "speed" in assignment ? measureCase(assignment.speed) : measureTrial(assignment.compare),
});
