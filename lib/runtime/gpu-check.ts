import type { NvidiaState } from "./nvidia";

/** One thing that `doctor` looked at. */
export interface DoctorCheck {
  /** "platform", "addon", "libtorch", "files", "load", "cpu" or "gpu". */
  name: string;
  ok: boolean;
  /** What was found, in a few words. */
  found: string;
  /** What to do about it; of one that is ok, it is a warning. */
  remedy?: string;
}

/**
 * What to say of GPUs where libtorch has loaded. One that is not used is worth a word, but no fault: the CPU serves.
 * @param gpus devices that libtorch sees, such as "cuda:0"
 */
export function gpuCheck(
  gpus: readonly string[],
  flavour: "cpu" | "cuda",
  { hardware, driver, deviceFiles }: NvidiaState,
): DoctorCheck {
  const say = (found: string, remedy?: string): DoctorCheck => ({
    name: "gpu",
    ok: true,
    found,
    ...(remedy !== undefined && { remedy }),
  });
  if (gpus.length > 0) return say(gpus.join(", "));
  if (driver === null && hardware) {
    return say(
      "an NVIDIA GPU is there, but no driver for it; the CPU is used",
      "Install NVIDIA's driver to use the GPU",
    );
  }
  if (driver === null && flavour === "cuda") {
    return say(
      "libtorch is a CUDA build, but there is no NVIDIA driver; the CPU is used",
      "Nothing, when there is no GPU; else install NVIDIA's driver",
    );
  }
  if (driver === null) return say("none; the CPU is used");
  if (!deviceFiles) {
    return say(
      `NVIDIA's driver ${driver} is loaded, but its devices cannot be seen from here; the CPU is used`,
      "Start the container with access to the GPU (`--gpus all`)",
    );
  }
  if (flavour === "cpu") {
    return say(
      `NVIDIA's driver ${driver} is there, but libtorch is a CPU build`,
      "Run `npx kpop-native install-runtime --cuda` to use the GPU",
    );
  }
  return say(
    `NVIDIA's driver ${driver} is there, but libtorch sees no GPU; the CPU is used`,
    "Check `nvidia-smi` and CUDA_VISIBLE_DEVICES: the driver may be too old for this libtorch's CUDA",
  );
}
