import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as safetensors from "../../lib/io/safetensors";
import { ResNet } from "../../lib/models/resnet";
import { Random } from "../../lib/runtime/random";
import { scope } from "../../lib/runtime/scope";
import { Tensor } from "../../lib/runtime/tensor";

/** Random weights for a ResNet, in a file with torchvision's keys. */
export async function saveResNet(path: string, config: Record<string, unknown>): Promise<void> {
  await scope(async () => {
    using network = new ResNet(config);
    const tensors = Object.entries(network.parameterShapes()).map(([name, shape], i): [string, Tensor] => {
      if (name.endsWith("num_batches_tracked")) return [name, Tensor.zeros(shape, { dtype: "int64" })];
      const draws = new Random(i).normal(shape);
      return [name, name.endsWith("running_var") ? draws.square().add(0.5) : draws.mul(0.3)];
    });
    await safetensors.save(path, new Map(tensors));
  });
}

/** A classifier's folder with random weights: 64 pixels, as the built-in one. */
export async function saveClassifier(folder: string, classes: readonly string[]): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const shape = { depth: 18, width: 4, stem: "small" };
  await saveResNet(join(folder, "model.safetensors"), { ...shape, num_classes: classes.length });
  const colours = { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] };
  const config = { ...shape, classes, resize: null, crop: null, interpolation: "bilinear", ...colours };
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
}
