import { CustomSource } from "../../../../lib/erasure/shared/custom-source";
import { trajectories } from "../../../../lib/erasure/shared/latent-options";
import { openLatents } from "../../../../lib/erasure/shared/open-latents";
import { PoolSource } from "../../../../lib/erasure/shared/pool-source";
import { RestartSource } from "../../../../lib/erasure/shared/restart-source";
import { complete } from "../../../../lib/options/option";
import { Tensor } from "../../../../lib/runtime/tensor";
import { numbersAsTexts, stubJob, stubModel } from "../../../support/erasure-job";

const texts = { towards: numbersAsTexts([0, 0]), empty: numbersAsTexts([0]) };
const options = {
  ...complete(trajectories(), { poolSize: 4 }, { concepts: ["church"] }),
  batchSize: 2,
};

describe("openLatents", () => {
  it("opens the source that is asked for; a pool is empty until it is prepared", async () => {
    const custom = (async function* () {})();
    const opened = [
      await openLatents(stubJob(), options, texts),
      await openLatents(stubJob(), { ...options, latents: "restart" }, texts),
      await openLatents(stubJob(), { ...options, latents: custom }, texts),
    ];
    expect(opened[0]).toBeInstanceOf(PoolSource);
    expect(opened[0]!.tensors!().size).toBe(0);
    await opened[0]!.prepare!();
    expect(opened[0]!.tensors!().size).toBe(4);
    expect(opened[1]).toBeInstanceOf(RestartSource);
    expect(opened[2]).toBeInstanceOf(CustomSource);
  });

  it.each([
    ["pool", "student"],
    ["pool", "teacher"],
    ["restart", "student"],
    ["restart", "teacher"],
  ] as const)("has a %s follow the %s, the student where none is given", async (latents, name) => {
    const asked = new Set<string>();
    const spy = (model: string) =>
      stubModel(async (z) => {
        asked.add(model);
        return z.mul(0);
      });
    const job = stubJob({ student: spy("student"), teacher: spy("teacher") });
    const by = name === "teacher" ? { by: job.teacher } : {};
    const source = await openLatents(job, { ...options, latents }, { ...texts, ...by });
    await source.prepare?.();
    for (let i = 0; i < 3; i++) {
      await source.next(i);
      await source.advance(i, { conditional: Tensor.zeros([2, 1, 1, 1]) });
    }
    expect([...asked]).toEqual([name]);
  });
});
