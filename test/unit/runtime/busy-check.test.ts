import { busyCheck, machineLoad } from "../../../lib/runtime/busy-check";

describe("busyCheck", () => {
  it("is content while there is a core for each task", () => {
    const free = { name: "cpu", ok: true, found: "load 2.0 on 2 cores" };
    expect(busyCheck(2, { cores: 2, load: 2 })).toEqual(free);
    expect(busyCheck(2, { cores: 1, load: 0.04 })).toMatchObject({ found: "load 0.0 on 1 core" });
  });

  it("says what to do about other programs that compute, which is no fault", () => {
    expect(busyCheck(2, { cores: 2, load: 3.14 })).toEqual({
      name: "cpu",
      ok: true,
      found: expect.stringMatching(/^load 3\.1 on 2 cores: other programs compute, and training/) as string,
      remedy: expect.stringMatching(/OMP_NUM_THREADS/) as string,
    });
  });

  it("has nothing to say of a single thread, which waits for no other", () => {
    expect(busyCheck(1, { cores: 2, load: 9 })).toEqual({
      name: "cpu",
      ok: true,
      found: "load 9.0 on 2 cores",
    });
  });

  it("reads the load of this machine", () => {
    const { cores, load } = machineLoad();
    expect(cores).toBeGreaterThanOrEqual(1);
    expect(load).toBeGreaterThanOrEqual(0);
  });
});
