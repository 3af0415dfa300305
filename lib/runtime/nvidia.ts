import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

/** What the system says of NVIDIA's hardware and driver, without any library of NVIDIA's. */
export interface NvidiaState {
  /** A graphics processor of NVIDIA's is on the PCI bus. */
  hardware: boolean;
  /** The version of the kernel driver that is loaded, "unknown" when it does not say; null without one. */
  driver: string | null;
  /** This process can see the device files: a container may have been started without them. */
  deviceFiles: boolean;
  /** What the driver calls each graphics processor; none where it does not say. */
  models: string[];
}

const VENDOR = "0x10de";
const DISPLAY_CLASS = /^0x03/;

/** @param root of the file system, for tests; default "/" */
export function nvidiaState(root: string = "/"): NvidiaState {
  return {
    hardware: hasHardware(join(root, "sys/bus/pci/devices")),
    driver: driverVersion(join(root, "proc/driver/nvidia/version")),
    deviceFiles: existsSync(join(root, "dev/nvidiactl")),
    models: modelNames(join(root, "proc/driver/nvidia/gpus")),
  };
}

function hasHardware(devices: string): boolean {
  return namesIn(devices).some(
    (name) =>
      contentOf(join(devices, name, "vendor")).trim() === VENDOR &&
      DISPLAY_CLASS.test(contentOf(join(devices, name, "class"))),
  );
}

function driverVersion(path: string): string | null {
  if (!existsSync(path)) return null;
  return /Kernel Module.*?\s(\d+(?:\.\d+)+)/.exec(contentOf(path))?.[1] ?? "unknown";
}

function modelNames(gpus: string): string[] {
  return namesIn(gpus).flatMap((name) => {
    const model = /^Model:\s*(.+)$/m.exec(contentOf(join(gpus, name, "information")))?.[1];
    return model === undefined ? [] : [model.trim()];
  });
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
