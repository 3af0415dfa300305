import { golden } from "../support/golden";
import { resultOf, runProgram } from "../support/program";

const MIB = 2 ** 20;

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
async function residentSizes(program: string, count: number): Promise<number[]> {
  const args = [golden("small"), count];
  const resident = resultOf<number[]>(await runProgram(program, args, { nodeOptions: ["--expose-gc"] }));
  return resident;
}

describe("resident memory", () => {
  it("stays flat over 200 iterations of KPOP: less than 8 MiB from the 60th to the 200th", async () => {
    const resident = await residentSizes("memory-of-training.mjs", 200);
    expect(resident).toHaveLength(200 / 5);
    const growth = median(resident.slice(180 / 5)) - median(resident.slice(60 / 5, 80 / 5));
    // One activation of the first level, (1, 32, 16, 16) float32, left by each of 120 iterations would be 4 MiB, the
    // gradients of the trained weights 30 times as much.
    expect(growth / MIB).toBeLessThan(8);
  }, 180_000);

  it("stays flat over loading, erasing, generating and disposing: less than one model over 12 cycles", async () => {
    const resident = await residentSizes("memory-of-cycles.mjs", 20);
    const growth = median(resident.slice(15)) - median(resident.slice(3, 8));
    // The weights take 11 MiB; a copy of them left by every cycle would be 132.
    expect(growth / MIB).toBeLessThan(11);
  }, 180_000);

  it("of tensors that nobody disposes of is given back by the garbage collector, which knows of their bytes", async () => {
    // 200 times two tensors of 8 MiB are 3200 MiB.
    const peak = resultOf<number>(await runProgram("memory-of-garbage.mjs", [200, 8]));
    expect(peak).toBeLessThan(1000);
  });
});
