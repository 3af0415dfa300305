import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseRunOptions } from "../../../lib/training/run-options";
import { RunState, type RunProgress, type StatePart, type StateParts } from "../../../lib/training/run-state";
import * as safetensors from "../../../lib/io/safetensors";
import { Tensor } from "../../../lib/runtime/tensor";
import { temporaryDirectory } from "../../support/temporary-directory";

/** A state of two tensors and a list of numbers. */
class Fake implements StatePart {
  private readonly held: Map<string, Tensor>;
  constructor(
    values: readonly number[],
    public own: unknown = values,
  ) {
    this.held = new Map([
      ["weight.a", Tensor.from([...values], [values.length])],
      ["steps", Tensor.from([values.length], [])],
    ]);
  }
  tensors(): ReadonlyMap<string, Tensor> {
    return this.held;
  }
  numbers(): unknown {
    return this.own;
  }
  restore(numbers: unknown): void {
    this.own = numbers;
  }
  get parts(): StateParts {
    return new Map([["fake", this]]);
  }
  async values(): Promise<number[]> {
    return Array.from(await this.held.get("weight.a")!.data(), Number);
  }
}

const progress: RunProgress = {
  iteration: 3,
  seconds: 1.5,
  evaluations: 40,
  history: [{ iteration: 1, iterations: 9, losses: { erase: 0.1 }, seconds: 0.5, etaSeconds: 4 }],
};
const state = (directory: string, resume = true, fingerprint = "print", every = 2): RunState =>
  new RunState({ directory, every }, resume, async () => fingerprint);

describe("RunState", () => {
  it("comes back as it was saved: tensors, numbers and progress", async () => {
    const directory = join(temporaryDirectory(), "deep", "state");
    await state(directory).save(new Fake([1, 2.5, -3], { positions: [1, 2] }).parts, progress);
    const fresh = new Fake([0, 0, 0]);
    expect(await state(directory).restore(fresh.parts)).toEqual(progress);
    expect([await fresh.values(), fresh.own]).toEqual([[1, 2.5, -3], { positions: [1, 2] }]);
    expect(readdirSync(directory)).toEqual(["kpop-state.safetensors"]);
  });

  it("keeps parts apart that call their tensors the same, and takes parts that have none of something", async () => {
    const directory = temporaryDirectory();
    const both = (a: number, b: number) => [new Fake([a]), new Fake([b])] as const;
    const parts = ([a, b]: readonly [Fake, Fake]): StateParts =>
      new Map<string, StatePart>([
        ["a", a],
        ["empty", {}],
        ["b", b],
      ]);
    await state(directory).save(parts(both(1, 2)), progress);
    const fresh = both(0, 0);
    await state(directory).restore(parts(fresh));
    expect(await Promise.all(fresh.map((part) => part.values()))).toEqual([[1], [2]]);
    expect(fresh.map(({ own }) => own)).toEqual([[1], [2]]);
  });

  it("stays where it was when the working directory becomes another", () => {
    const { checkpoint } = parseRunOptions({ checkpoint: { directory: "state" } });
    expect(checkpoint!.directory).toBe(join(process.cwd(), "state"));
  });

  it("asks for the identity where a state is kept, once", async () => {
    let asked = 0;
    const identity = (): Promise<string> => {
      asked += 1;
      return Promise.resolve("print");
    };
    const none = new RunState(undefined, false, identity);
    await none.save(new Fake([1]).parts, progress);
    expect(asked).toBe(0);
    const kept = new RunState({ directory: temporaryDirectory(), every: 1 }, true, identity);
    await kept.save(new Fake([1]).parts, progress);
    await kept.restore(new Fake([1]).parts);
    expect(asked).toBe(1);
  });

  it("starts from the beginning without resume, and where nothing was saved", async () => {
    const directory = temporaryDirectory();
    expect(await state(directory).restore(new Fake([1]).parts)).toBeNull();
    await state(directory).save(new Fake([1]).parts, progress);
    expect(await state(directory, false).restore(new Fake([2]).parts)).toBeNull();
  });

  it("is due every so many iterations, and never without a folder", async () => {
    expect([1, 2, 3, 4].map((i) => state("x").due(i))).toEqual([false, true, false, true]);
    const none = new RunState(undefined, true, async () => "print");
    expect([none.path, none.due(2)]).toEqual([undefined, false]);
    await none.save(new Fake([1]).parts, progress);
    expect(await none.restore(new Fake([1]).parts)).toBeNull();
  });

  it("refuses the state of another run, and leaves it", async () => {
    const directory = temporaryDirectory();
    await state(directory).save(new Fake([1]).parts, progress);
    const before = readFileSync(state(directory).path!);
    await expect(state(directory, true, "other").restore(new Fake([1]).parts)).rejects.toMatchObject({
      name: "KpopError",
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/belongs to a run with another model or other options/) as string,
    });
    expect(readFileSync(state(directory).path!).equals(before)).toBe(true);
  });

  it("refuses files that are no state, or a damaged one", async () => {
    const directory = temporaryDirectory();
    const path = state(directory).path!;
    const restore = (): Promise<unknown> => state(directory).restore(new Fake([1]).parts);
    writeFileSync(path, "no");
    await expect(restore()).rejects.toMatchObject({ code: "INVALID_SAFETENSORS" });
    const tensors = new Map([...new Fake([1]).tensors()].map(([name, value]) => [`fake.${name}`, value]));
    const metadata = { format: "kpop-run-state-1", fingerprint: "print", numbers: "{}", progress: "{}" };
    for (const change of [{ format: "other" }, { numbers: "[" }, { progress: "" }]) {
      await safetensors.save(path, tensors, { ...metadata, ...change });
      await expect(restore()).rejects.toMatchObject({ code: "INVALID_CHECKPOINT" });
    }
  });

  it("finds out before the work that its folder cannot be made", async () => {
    const file = join(temporaryDirectory(), "file");
    writeFileSync(file, "");
    for (const directory of [file, join(file, "below")])
      await expect(state(directory).restore(new Fake([1]).parts)).rejects.toMatchObject({
        name: "KpopError",
        code: "IO_ERROR",
      });
  });

  it("keeps the old state whole when a new one cannot be written", async () => {
    const directory = temporaryDirectory();
    await state(directory).save(new Fake([1]).parts, progress);
    const broken = new Fake([2]);
    broken.tensors().get("weight.a")!.dispose();
    await expect(state(directory).save(broken.parts, progress)).rejects.toMatchObject({ code: "DISPOSED" });
    const restored = new Fake([0]);
    await state(directory).restore(restored.parts);
    expect(await restored.values()).toEqual([1]);
    expect(existsSync(directory) && readdirSync(directory)).toHaveLength(1);
  });
});
