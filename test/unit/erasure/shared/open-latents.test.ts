import { CustomSource } from "../../../../lib/erasure/shared/custom-source";
import { latentDefaults } from "../../../../lib/erasure/shared/latent-options";
import { openLatents } from "../../../../lib/erasure/shared/open-latents";
import { PoolSource } from "../../../../lib/erasure/shared/pool-source";
import { RestartSource } from "../../../../lib/erasure/shared/restart-source";
import type { UNet2DConditionModel } from "../../../../lib/models/unet";
import { Tensor } from "../../../../lib/runtime/tensor";
import { stubContext } from "../../../support/erasure-context";

const texts = Tensor.zeros([2, 1, 1]);
const empty = Tensor.zeros([1, 1, 1]);
const options = { ...latentDefaults, batchSize: 2, poolSize: 4 };

describe("openLatents", () => {
  it("opens the source that is asked for", async () => {
    const context = stubContext();
    const custom = (async function* () {})();
    const opened = [
      await openLatents(context, options, texts, empty),
      await openLatents(context, { ...options, latents: "restart" }, texts, empty),
      await openLatents(context, { ...options, latents: custom }, texts, empty),
    ];
    expect(opened[0]).toBeInstanceOf(PoolSource);
    expect(opened[0]!.tensors().size).toBe(4);
    expect(opened[1]).toBeInstanceOf(RestartSource);
    expect(opened[2]).toBeInstanceOf(CustomSource);
  });

  it.each(["pool", "restart"] as const)("has a %s follow the network that it is given", async (latents) => {
    const student = {} as UNet2DConditionModel;
    const context = stubContext({ student });
    const asked = new Set<UNet2DConditionModel>();
    const { predict } = context;
    const spying = {
      ...context,
      predict: (...args: Parameters<typeof predict>) => {
        asked.add(args[0]);
        return predict(...args);
      },
    };
    const source = await openLatents(spying, { ...options, latents }, texts, empty, context.teacher);
    for (let i = 0; i < 3; i++) {
      await source.next(i);
      await source.advance(i, { conditional: Tensor.zeros([2, 1, 1, 1]) });
    }
    expect([...asked]).toEqual([context.teacher]);
  });
});
