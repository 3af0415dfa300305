import { resultOf, runProgram } from "../support/program";

const MIB = 2 ** 20;

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
async function residentSizes(program: string, ...args: number[]): Promise<number[]> {
  return resultOf<number[]>(await runProgram(program, args, { nodeOptions: ["--expose-gc"] }));
}

describe("resident memory", () => {
  it("stays flat over 80 iterations of KPOP: less than 6 MiB from the 30th to the 75th", async () => {
    const resident = await residentSizes("memory-of-training.mjs", 80);
    expect(resident).toHaveLength(80 / 5);
    const growth = median(resident.slice(65 / 5)) - median(resident.slice(20 / 5, 40 / 5));
    // The gradients of the trained weights left by each of 45 iterations would be 35 MiB.
    expect(growth / MIB).toBeLessThan(6);
  }, 180_000);

  it("stays flat over 60 cycles of loading, erasing, generating and disposing, once the first 30 are over", async () => {
    const resident = await residentSizes("memory-of-cycles.mjs", 60, 3);
    const growth = median(resident.slice(51 / 3)) - median(resident.slice(30 / 3, 39 / 3));
    // A copy of the weights, 0.9 MB, left by each of 21 cycles would be 18 MiB. `npm run test:leak` goes on to 2000.
    expect(growth / MIB).toBeLessThan(6);
  }, 180_000);

  it("of tensors that nobody disposes of is given back by the garbage collector, which knows of their bytes", async () => {
    // 100 times two tensors of 8 MiB are 1600 MiB.
    const peak = resultOf<number>(await runProgram("memory-of-garbage.mjs", [100, 8]));
    expect(peak).toBeLessThan(800);
  });

  it("of results that a terminated thread never took is given back", async () => {
    const resident = resultOf<number[]>(await runProgram("memory-of-terminated.mjs", [4, 8, 32]));
    // Three times eight results of 32 MiB are 768 MiB.
    expect(resident.at(-1)! - resident[0]!).toBeLessThan(200);
  });
});
