import { golden } from "../support/golden";
import { resultOf, runProgram } from "../support/program";

const MIB = 2 ** 20;

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
async function residentSizes(program: string, count: number): Promise<number[]> {
  const args = [golden("small"), count];
  const resident = resultOf<number[]>(await runProgram(program, args, { nodeOptions: ["--expose-gc"] }));
  expect(resident).toHaveLength(count);
  return resident;
}

describe("resident memory", () => {
  it("stays flat over 200 iterations of KPOP: less than 4 MiB from the 60th to the 200th", async () => {
    const resident = await residentSizes("memory-of-training.mjs", 200);
    const growth = median(resident.slice(180)) - median(resident.slice(60, 80));
    expect(growth / MIB).toBeLessThan(4);
  }, 180_000);

  it("stays flat over loading, erasing, generating and disposing: less than one model over 20 cycles", async () => {
    const resident = await residentSizes("memory-of-cycles.mjs", 30);
    const growth = median(resident.slice(25)) - median(resident.slice(5, 10));
    // The weights take 11 MiB; a copy of them left by every cycle would be 220.
    expect(growth / MIB).toBeLessThan(11);
  }, 180_000);
});
