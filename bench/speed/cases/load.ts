import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { safetensors, Tensor } from "../../../lib/index";
import { ARCHITECTURES } from "../../gpu/architectures";
import { peakBytes } from "../../machine";
import type { Measurement, SpeedCase } from "../case";
import { randomUNet } from "./unet";

const path = join(tmpdir(), "kpop-bench-unet.safetensors");

/**
 * Every tensor of a 3.4 GB file, each summed once; the file is in the page cache for both sides. Both map the file, or both
 * make copies of it.
 */
export function loadCase(how: "mapped" | "copied"): SpeedCase {
  const mapped = how === "mapped";
  return {
    name: mapped ? "load" : "load-copied",
    title: `3.4 GB of safetensors, ${how}, every element touched once`,
    prepare: writeFile,
    run: () => measure(mapped),
    peer: { script: "load.py", arguments: [path, mapped ? "map" : "copy"] },
  };
}

/** Writes the file that both sides read. */
async function writeFile(): Promise<void> {
  if (existsSync(path)) return;
  const unet = await randomUNet(ARCHITECTURES["1.4"].unet, "float32");
  await safetensors.save(path, new Map(unet.parameterNames().map((name) => [name, unet.parameter(name)])));
  unet.dispose();
}

async function measure(mapped: boolean): Promise<Measurement> {
  const { size } = await stat(path);
  // libtorch is loaded by the first tensor, and by the peer's imports.
  Tensor.empty([1]).dispose();
  const start = performance.now();
  const tensors = await safetensors.load(path, { mapped });
  const loaded = (performance.now() - start) / 1000;
  // Queued one after the other, as work on a device is: an await for each would measure the way to the worker and back.
  const sums = await Promise.all(Array.from(tensors.values(), (tensor) => tensor.sum().item()));
  if (!sums.every(Number.isFinite)) throw new Error("the loaded tensors are not finite");
  const touched = (performance.now() - start) / 1000;
  return {
    seconds: { "load and touch": touched },
    figures: { "load alone (s)": loaded, "peak / file": peakBytes() / size },
    peakBytes: peakBytes(),
  };
}
