import { erase } from "../../../lib/erasure/erase";
import { methodFacts } from "../../../lib/erasure/method-facts";
import { METHOD_NAMES, METHODS, methodNamed, type EraseOptions } from "../../../lib/erasure/registry";
import { loadGolden, type GoldenModel } from "../../support/golden-model";
import { shortOptions } from "../../support/method-contract";
import { temporaryFolders } from "../../support/temporary";

const folder = temporaryFolders();

describe("methodFacts", () => {
  it.each([
    ["kpop", { network: "unet", parameters: "xattn-kv" }, ["key"]],
    ["esd", { network: "unet", parameters: "xattn" }, []],
    ["speed", { network: "unet", parameters: "xattn-v" }, []],
    ["task-vector", { network: "unet", parameters: "full" }, ["task-vector-concept"]],
    ["sld", null, ["intervention"]],
  ])("says of %s what it changes by default, and what it leaves", (name, changes, leaves) => {
    expect(methodFacts(methodNamed(name))).toMatchObject({ name, changes, leaves });
  });

  it("says of every method what it changes, and that inference changes nothing", () => {
    for (const name of METHOD_NAMES) {
      const { changes, kind, leaves } = methodFacts(methodNamed(name));
      if (kind === "inference") expect([changes, leaves.at(-1)]).toEqual([null, "intervention"]);
      else expect(changes).toEqual({ network: expect.any(String), parameters: expect.any(String) });
    }
  });
});

describe("a method's cost", () => {
  const counted = METHODS.flatMap(({ name, cost }) => {
    const evaluations = Number(/^(\d+) UNet evaluations? (?:a picture and|an) iteration/.exec(cost)?.[1]);
    return Number.isNaN(evaluations) ? [] : [[name, evaluations] as const];
  });
  let golden: GoldenModel;
  beforeAll(async () => {
    golden = await loadGolden("small", { latents: 8 });
  });
  afterAll(() => golden.dispose());

  it.each(counted)("is for %s what one iteration more spends: %d evaluations", async (name, evaluations) => {
    // KPOP's are said with what is kept.
    const neighbours = name === "kpop" ? "nearest" : "off";
    const spent = async (iterations: number): Promise<number> => {
      const own = { ...shortOptions(name, folder()), batchSize: 1, iterations };
      // Of so many steps no trajectory is at its end in these iterations, where moving on costs nothing.
      const far = "poolSize" in own ? { samplingSteps: 50 } : {};
      const options = { method: name, concepts: "church", neighbours, seed: 1, ...own, ...far };
      const erasure = await erase(golden.model, options as EraseOptions);
      erasure.dispose();
      return erasure.manifest.unetEvaluations;
    };
    // Pictures to train on are drawn in either run.
    expect((await spent(3)) - (await spent(1))).toBe(2 * evaluations);
  });
});
