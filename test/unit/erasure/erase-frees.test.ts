import { join } from "node:path";
import { erase } from "../../../lib/erasure/erase";
import { METHOD_NAMES, type EraseOptions } from "../../../lib/erasure/registry";
import type * as Scope from "../../../lib/runtime/scope";
import { Tensor } from "../../../lib/runtime/tensor";
import { shortOptions } from "../../support/method-contract";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { temporaryDirectory } from "../../support/temporary-directory";

const made = new Set<unknown>();

// Every tensor tells the open scope that it was made, so this is where all of them can be seen.
jest.mock("../../../lib/runtime/scope", () => {
  const actual = jest.requireActual<typeof Scope>("../../../lib/runtime/scope");
  return {
    ...actual,
    adopt(item: Scope.Disposable): void {
      made.add(item);
      actual.adopt(item);
    },
  };
});

describe("erase", () => {
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());

  /** Tensors that were made since and are held still, but for handles on the input model's own weights. */
  function held(): Tensor[] {
    const { unet, vae, textEncoder } = golden.model;
    const own = new Set<unknown>();
    for (const network of [unet, vae, textEncoder])
      for (const name of network.parameterNames()) own.add(network.parameter(name));
    return [...made].filter(
      (item): item is Tensor => item instanceof Tensor && !own.has(item) && !item.disposed,
    );
  }

  it.each(METHOD_NAMES)(
    "by %s leaves no tensor behind, whether it is done or fails half-way",
    async (name) => {
      const cacheDirectory = join(temporaryDirectory(), "cache");
      const short = { ...shortOptions(name, cacheDirectory), concepts: "church", preserve: ["a dog"] };
      const options = { method: name, ...short } as EraseOptions;
      const before = new Set(held());
      const left = (): number => held().filter((tensor) => !before.has(tensor)).length;
      const done = await erase(golden.model, options);
      done.dispose();
      expect(left()).toBe(0);
      let steps = 0;
      const onStep = (): void => {
        if (++steps === 2) throw new Error("mine");
      };
      const failing = erase(golden.model, { ...options, onStep });
      // Where there is nothing to train, there is nothing to stop.
      if (done.history.length < 2) return (await failing).dispose();
      await expect(failing).rejects.toThrow("mine");
      expect(left()).toBe(0);
    },
  );
});
