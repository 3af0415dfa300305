import { existsSync } from "node:fs";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { safetensors, StableDiffusion, type ComputeDtype, type Device, type Tensor } from "../../lib/index";
import { ROOT } from "../root";

const FIXTURES = join(ROOT, "test", "fixtures", "golden");

/** CLIP's whole vocabulary, which both golden checkpoints and one of full size have. */
export const TOKENIZER = join(FIXTURES, "small", "tokenizer");

/** A golden checkpoint on a device, with the reference's inputs and outputs on the CPU. */
export interface Golden {
  name: string;
  model: StableDiffusion;
  texts: string;
  expected(key: string): Tensor;
  /** On the device, in the dtype that is computed in. */
  input(key: string): Tensor;
  keys(prefix: string): string[];
  dispose(): Promise<void>;
}

export function isThere(name: string): boolean {
  return existsSync(join(FIXTURES, name, "model_index.json"));
}

export async function loadGolden(name: string, device: Device, dtype: ComputeDtype): Promise<Golden> {
  const folder = await mkdtemp(join(tmpdir(), "kpop-gpu-golden-"));
  await cp(join(FIXTURES, name), folder, { recursive: true });
  await cp(TOKENIZER, join(folder, "tokenizer"), { recursive: true });
  const model = await StableDiffusion.load(folder, { device, dtype });
  const tensors = await safetensors.load(join(FIXTURES, name, "expected.safetensors"));
  const expected = (key: string): Tensor => {
    const tensor = tensors.get(key);
    if (tensor === undefined) throw new Error(`the fixture ${name} has no ${key}`);
    return tensor;
  };
  return {
    name,
    model,
    texts: join(FIXTURES, name, "texts.json"),
    expected,
    input: (key) => expected(key).to({ device: model.device, dtype }),
    keys: (prefix) => [...tensors.keys()].filter((key) => key.startsWith(prefix)),
    async dispose() {
      model.dispose();
      for (const tensor of tensors.values()) tensor.dispose();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
