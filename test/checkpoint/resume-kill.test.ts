import { readdirSync } from "node:fs";
import { golden } from "../support/golden";
import { resultOf, runProgram, type ProgramOptions, type ProgramResult } from "../support/program";
import { temporaryDirectory } from "../support/temporary-directory";

interface Outcome {
  weights: string;
  prompt: string;
  losses: Record<string, number>[];
  evaluations: number;
}

describe("a run killed in the middle", () => {
  it.each([
    ["the golden checkpoint", golden("small"), 7, 2, 2],
    ["the built-in model", "pocket", 3, 1, 1],
  ])(
    "on %s ends, resumed, with the bits of one that was not",
    async (_, model, iterations, kills, ahead) => {
      const program = (folder: string, options?: ProgramOptions): Promise<ProgramResult> =>
        runProgram("erase-and-resume.mjs", [model, folder, iterations], options);
      const whole = resultOf<Outcome>(await program(temporaryDirectory()));
      expect(whole.losses).toHaveLength(iterations);

      const folder = temporaryDirectory();
      const moments: string[] = [];
      let reached = 0;
      for (let round = 0; round < kills; round++) {
        const until = reached + 1 + Math.floor(Math.random() * ahead);
        const share = Math.random();
        let armed = false;
        const { signal } = await program(folder, {
          onLine(line, child) {
            const [iteration, milliseconds] = line.split(" ").map(Number) as [number, number];
            reached = Math.max(reached, iteration);
            if (iteration < until) return;
            // An iteration may take less than the one before it: the next report ends the wait.
            if (armed) return void child.kill("SIGKILL");
            armed = true;
            setTimeout(() => child.kill("SIGKILL"), share * milliseconds);
          },
        });
        moments.push(`${share.toFixed(2)} of an iteration after iteration ${until}`);
        expect([moments, signal]).toEqual([moments, "SIGKILL"]);
      }
      const resumed = resultOf<Outcome>(await program(folder));
      expect([moments, resumed]).toEqual([moments, whole]);
      // A kill in the middle of saving leaves a temporary file; the state under its name is always whole.
      expect(readdirSync(folder)).toContain("kpop-state.safetensors");
    },
    120_000,
  );
});
