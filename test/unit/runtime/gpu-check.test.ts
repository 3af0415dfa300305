import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gpuCheck } from "../../../lib/runtime/gpu-check";
import { nvidiaState } from "../../../lib/runtime/nvidia";
import { temporaryFolders } from "../../support/temporary";

const folder = temporaryFolders();

const GPU = {
  "sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n",
  "sys/bus/pci/devices/0000:01:00.0/class": "0x030200\n",
};
const SOUND_OF_GPU = {
  "sys/bus/pci/devices/0000:01:00.1/vendor": "0x10de\n",
  "sys/bus/pci/devices/0000:01:00.1/class": "0x040300\n",
};
const OTHER_GPU = {
  "sys/bus/pci/devices/0000:00:02.0/vendor": "0x8086\n",
  "sys/bus/pci/devices/0000:00:02.0/class": "0x030000\n",
};
const DRIVER = {
  "proc/driver/nvidia/version":
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 23 2025\nGCC version: 12.2.0\n",
};
const OPEN_DRIVER = {
  "proc/driver/nvidia/version":
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n",
};
const DEVICES = { "dev/nvidiactl": "" };

/** A file system that holds only these files. */
function root(...files: Record<string, string>[]): string {
  const at = folder();
  for (const [name, content] of Object.entries(Object.assign({}, ...files) as Record<string, string>)) {
    mkdirSync(dirname(join(at, name)), { recursive: true });
    writeFileSync(join(at, name), content);
  }
  return at;
}

describe("nvidiaState", () => {
  it("finds nothing where there is nothing, or only another maker's GPU", () => {
    const nothing = { hardware: false, driver: null, deviceFiles: false, models: [] };
    expect(nvidiaState(root())).toEqual(nothing);
    expect(nvidiaState(root(OTHER_GPU, SOUND_OF_GPU))).toEqual(nothing);
  });

  it("finds hardware, driver and device files each by itself", () => {
    const models: string[] = [];
    expect(nvidiaState(root(GPU, OTHER_GPU))).toEqual({
      ...{ hardware: true, driver: null, deviceFiles: false, models },
    });
    expect(nvidiaState(root(GPU, DRIVER))).toEqual({
      ...{ hardware: true, driver: "570.86.15", deviceFiles: false, models },
    });
    expect(nvidiaState(root(OPEN_DRIVER, DEVICES))).toEqual({
      ...{ hardware: false, driver: "580.65.06", deviceFiles: true, models },
    });
    expect(nvidiaState(root({ "proc/driver/nvidia/version": "?" })).driver).toBe("unknown");
  });
});

describe("nvidiaState's models", () => {
  it("are what the driver calls each GPU", () => {
    const information = (model: string): string => `Model: \t\t ${model}\nIRQ:   \t\t 64\n`;
    const state = nvidiaState(
      root(DRIVER, {
        "proc/driver/nvidia/gpus/0000:01:00.0/information": information("NVIDIA H100 80GB HBM3"),
        "proc/driver/nvidia/gpus/0000:02:00.0/information": information("NVIDIA L4"),
        "proc/driver/nvidia/gpus/0000:03:00.0/other": "",
      }),
    );
    expect(state.models.sort()).toEqual(["NVIDIA H100 80GB HBM3", "NVIDIA L4"]);
  });
});

describe("gpuCheck", () => {
  const check = (flavour: "cpu" | "cuda", ...files: Record<string, string>[]) =>
    gpuCheck([], flavour, nvidiaState(root(...files)));

  it("names the GPUs that are used", () => {
    const used = gpuCheck(["cuda:0", "cuda:1"], "cuda", nvidiaState(root(GPU, DRIVER, DEVICES)));
    expect(used).toEqual({ name: "gpu", ok: true, found: "cuda:0, cuda:1" });
  });

  it("is content without a GPU", () => {
    expect(check("cpu")).toEqual({ name: "gpu", ok: true, found: "none; the CPU is used" });
  });

  it.each<[string, "cpu" | "cuda", Record<string, string>[], RegExp, RegExp]>([
    ["a GPU without driver", "cpu", [GPU], /no driver/, /Install NVIDIA's driver/],
    ["a GPU without driver, for a CUDA libtorch too", "cuda", [GPU], /no driver/, /Install NVIDIA's driver/],
    ["a CUDA libtorch without driver or GPU", "cuda", [], /CUDA build.*no NVIDIA driver/, /^Nothing, when/],
    ["a container without the devices", "cuda", [GPU, DRIVER], /570\.86\.15.*cannot be seen/, /--gpus all/],
    ["a CPU libtorch beside a GPU", "cpu", [GPU, DRIVER, DEVICES], /CPU build/, /install-runtime --cuda/],
    [
      "a driver that libtorch cannot use",
      "cuda",
      [GPU, DRIVER, DEVICES],
      /570\.86\.15.*sees no GPU/,
      /nvidia-smi.*too old/,
    ],
  ])("says what to do about %s, which is no fault", (_name, flavour, files, found, remedy) => {
    expect(check(flavour, ...files)).toEqual({
      name: "gpu",
      ok: true,
      found: expect.stringMatching(found),
      remedy: expect.stringMatching(remedy),
    });
  });
});
