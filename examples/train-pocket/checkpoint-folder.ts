import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CLIPTokenizer, safetensors, type Tensor } from "../../lib/index";
import { learnBytePairs } from "./byte-pairs";
import { allCaptions } from "./captions";
import { FAMILIES, indexOf, TOKENS, type Family } from "./families";
import { writeJson } from "./files";

/** What all networks have that is needed to write them. */
interface Weights {
  parameterNames(): string[];
  parameter(name: string): Tensor;
}

/** The tokenizer, and what configurations say of it. */
export interface Vocabulary {
  tokenizer: CLIPTokenizer;
  fields: { vocab_size: number; bos_token_id: number; eos_token_id: number; pad_token_id: number };
}

/** Learns the captions' words and writes the tokenizer's files. */
export async function writeTokenizer(folder: string): Promise<Vocabulary> {
  const { vocab, merges, bosId, eosId } = learnBytePairs(allCaptions());
  await mkdir(folder, { recursive: true });
  const special = {
    bos_token: "<|startoftext|>",
    eos_token: "<|endoftext|>",
    pad_token: "<|endoftext|>",
    unk_token: "<|endoftext|>",
  };
  await writeFile(join(folder, "merges.txt"), merges);
  await writeJson(join(folder, "vocab.json"), vocab);
  await writeJson(join(folder, "special_tokens_map.json"), special);
  await writeJson(join(folder, "tokenizer_config.json"), {
    ...special,
    do_lower_case: true,
    errors: "replace",
    model_max_length: TOKENS,
    tokenizer_class: "CLIPTokenizer",
  });
  return {
    tokenizer: await CLIPTokenizer.fromFiles(folder),
    fields: {
      vocab_size: Object.keys(vocab).length,
      bos_token_id: bosId,
      eos_token_id: eosId,
      pad_token_id: eosId,
    },
  };
}

/** Writes config.json and the weights; floats in float16. */
export async function writeNetwork(
  folder: string,
  network: Weights,
  config: object,
  file = "model.safetensors",
): Promise<void> {
  await mkdir(folder, { recursive: true });
  const halves = new Map<string, Tensor>();
  for (const name of network.parameterNames()) {
    const weight = network.parameter(name).detach();
    const dtype = weight.dtype === "float32" ? "float16" : weight.dtype;
    halves.set(name, weight.to({ dtype, device: "cpu" }).contiguous());
  }
  await safetensors.save(join(folder, file), halves, { format: "pt" });
  for (const half of halves.values()) half.dispose();
  await writeJson(join(folder, "config.json"), config);
}

/** Writes what makes the folders a diffusers checkpoint: the index, and the family's scheduler. */
export async function writeIndex(
  out: string,
  family: Omit<Family, "training"> = FAMILIES.sd1,
): Promise<void> {
  await mkdir(join(out, "scheduler"), { recursive: true });
  await writeJson(join(out, "scheduler", "scheduler_config.json"), family.scheduler);
  await writeJson(join(out, "model_index.json"), indexOf(family));
}
