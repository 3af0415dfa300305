import { localDevice } from "../../../lib/runtime/local-device";

describe("the GPU of one of several processes", () => {
  it.each<[Record<string, string>, number, string | undefined]>([
    [{ LOCAL_RANK: "3" }, 8, "cuda:3"],
    [{ LOCAL_RANK: "9" }, 8, "cuda:1"],
    [{ SLURM_LOCALID: "1" }, 2, "cuda:1"],
    [{ LOCAL_RANK: "1", SLURM_LOCALID: "0" }, 2, "cuda:1"],
    [{ LOCAL_RANK: "1" }, 1, undefined],
    [{ LOCAL_RANK: "1" }, 0, undefined],
    [{ LOCAL_RANK: "" }, 2, undefined],
    [{}, 2, undefined],
  ])("of %j on a machine of %d is %s", (env, count, device) => {
    expect(localDevice(env, () => count)).toBe(device);
  });

  it("does not ask for GPUs where nothing tells a number", () => {
    const devices = jest.fn();
    expect(localDevice({}, devices)).toBeUndefined();
    expect(devices).not.toHaveBeenCalled();
  });
});
