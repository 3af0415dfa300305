import { join } from "node:path";
import * as safetensors from "../../lib/io/safetensors";
import type { Module } from "../../lib/models/module";
import { scope } from "../../lib/runtime/scope";
import { Tensor } from "../../lib/runtime/tensor";
import { seededWeights } from "./seeded-weights";

/** Seeded weights for a network, convolutions scaled so that activations keep their size. */
export function scaledWeights(
  shapes: Readonly<Record<string, readonly number[]>>,
  gain: number,
): Map<string, Tensor> {
  const weights = [...seededWeights(shapes)];
  return new Map(weights.map(([key, value]) => [key, value.shape.length === 4 ? value.mul(gain) : value]));
}

/** A file of them, beside whatever else it is to hold. */
export async function saveWeights(
  folder: string,
  name: string,
  network: Module<object>,
  { gain, beside = {} }: { gain: number; beside?: Readonly<Record<string, readonly number[]>> },
): Promise<string> {
  const path = join(folder, name);
  await scope(async () => {
    const others = Object.entries(beside).map(([key, shape]): [string, Tensor] => [key, Tensor.zeros(shape)]);
    await safetensors.save(path, new Map([...scaledWeights(network.parameterShapes(), gain), ...others]));
  });
  network.dispose();
  return path;
}
