import { basename, dirname } from "node:path";
import { KpopError } from "../errors";
import { formatHubName, type HubName } from "../hub/hub-name";
import { EXPECTED } from "./checkpoint-family";
import { isPickleName, pickleRefused } from "./checkpoint-pickle";
import { TOKENIZER_FOLDERS } from "./checkpoint-tokenizer";
import { COMPONENTS, FOLDERS, STEMS } from "./checkpoint-types";
import { chooseWeights } from "./checkpoint-weights";
import {
  DELTA_FILE,
  INTERVENTION_TENSORS_FILE,
  INTERVENTIONS_FILE,
  LORA_FILE,
  MANIFEST_FILE,
  SINGLE_FILE,
} from "./file-kinds";
import { isDocument } from "./saved-model";
import { TOKENIZER_FILES } from "./tokenizer-files";

const TOKENIZER = Object.values(TOKENIZER_FILES);
/** What there is beside the weights of a saved model. */
const OWN = [MANIFEST_FILE, INTERVENTIONS_FILE, INTERVENTION_TENSORS_FILE];
/** Shown of the files that a name may have meant. */
const SHOWN = 5;

/**
 * What of a repository is read here: of a pipeline the networks, in the variant that loading takes, tokenizers and
 * scheduler; of a saved erasure its file; of a folder with a CLIP or a classifier config, weights and tokenizer; of a file
 * what may lie beside it. Never pickles, nor what other frameworks or safety checkers need.
 * @param files all files that there are, by their paths
 * @param name whose path is a folder or a file among them
 * @throws NOT_FOUND; UNSUPPORTED_FORMAT on pickled weights and other kinds of files; INVALID_CHECKPOINT
 */
export function neededFiles(files: readonly string[], name: HubName): string[] {
  const { path } = name;
  if (files.includes(path)) return besideFile(files, name);
  const start = path === "" ? "" : `${path}/`;
  const below = files.filter((file) => file.startsWith(start)).map((file) => file.slice(start.length));
  const found = new Folder(below, formatHubName(name));
  if (below.length === 0)
    throw new KpopError(
      "NOT_FOUND",
      `There is no ${path || "file"} in ${formatHubName({ ...name, path: "" })}`,
    );
  return found.needed().map((file) => start + file);
}

/** A file, and what loading looks for beside it: a tokenizer, the names of classes, a run's manifest. */
function besideFile(files: readonly string[], name: HubName): string[] {
  const { path } = name;
  if (isPickleName(path)) throw pickleRefused(formatHubName(name));
  if (!/\.(?:safetensors|json|onnx)$/.test(path))
    throw new KpopError(
      "UNSUPPORTED_FORMAT",
      `${formatHubName(name)} is not downloaded: it is no safetensors, no JSON and no detector (ONNX)`,
    );
  if (!path.endsWith(".safetensors")) return [path];
  const folder = dirname(path) === "." ? "" : `${dirname(path)}/`;
  const beside = [`${basename(path, ".safetensors")}.json`, MANIFEST_FILE];
  const wanted = [...beside, ...TOKENIZER, ...tokenizerFiles()].map((file) => folder + file);
  return [path, ...wanted.filter((file) => files.includes(file))];
}

function tokenizerFiles(): string[] {
  return Object.values(TOKENIZER_FOLDERS).flatMap((folder) => TOKENIZER.map((file) => `${folder}/${file}`));
}

class Folder {
  private readonly names: string[];

  constructor(
    private readonly files: readonly string[],
    private readonly origin: string,
  ) {
    this.names = this.namesIn("");
  }

  needed(): string[] {
    // What is saved of a model takes its terms along.
    return [...this.content(), ...this.names.filter(isDocument), ...this.present(OWN)];
  }

  private content(): string[] {
    const { names } = this;
    if (names.includes("model_index.json")) return this.pipeline();
    for (const file of [DELTA_FILE, LORA_FILE]) if (names.includes(file)) return [file];
    const isNetwork = names.includes(MANIFEST_FILE) || names.includes("config.json");
    if (isNetwork && names.includes(SINGLE_FILE))
      return [SINGLE_FILE, ...this.present(["config.json", "preprocessor_config.json", ...TOKENIZER])];
    throw this.nothingHere();
  }

  private pipeline(): string[] {
    // Gigabytes of another family's text encoders would come before loading looks at it.
    if (!this.files.includes(`${FOLDERS.unet}/config.json`))
      throw new KpopError(
        "UNSUPPORTED_MODEL",
        `${this.origin} is a pipeline without a UNet (${FOLDERS.unet}/config.json), as those of Stable Diffusion 3 and FLUX are; ${EXPECTED}`,
      );
    const networks = COMPONENTS.flatMap((component) => {
      const folder = `${FOLDERS[component]}/`;
      // What is missing, loading says.
      if (!this.files.some((file) => file.startsWith(folder))) return [];
      return [`${folder}config.json`, ...this.weights(folder, STEMS[component])];
    });
    const texts = ["scheduler/scheduler_config.json", "feature_extractor/preprocessor_config.json"];
    return ["model_index.json", ...this.present([...networks, ...texts, ...tokenizerFiles()])];
  }

  /** @param folder with a slash */
  private weights(folder: string, stem: string): string[] {
    const names = this.namesIn(folder);
    const chosen = chooseWeights(`${this.origin}/${folder}`, names, stem);
    const pickled = names.find(isPickleName);
    if (chosen === null && pickled !== undefined) throw pickleRefused(`${this.origin}/${folder}${pickled}`);
    if (chosen === null) return [];
    if (!chosen.sharded) return [folder + chosen.name];
    const mark = chosen.mark === "" ? "" : `\\.${chosen.mark}`;
    const shard = new RegExp(`^${stem}(?:${mark}-\\d+-of-\\d+|-\\d+-of-\\d+${mark})\\.safetensors$`);
    return [chosen.name, ...names.filter((name) => shard.test(name))].map((name) => folder + name);
  }

  private nothingHere(): KpopError {
    const files = this.files.filter((file) => file.endsWith(".safetensors"));
    const pickled = this.names.find(isPickleName);
    if (pickled !== undefined && files.length === 0) return pickleRefused(`${this.origin}/${pickled}`);
    const some = files.slice(0, SHOWN).map((file) => `${this.origin}/${file}`);
    return new KpopError(
      "NOT_FOUND",
      `${this.origin} has no model_index.json, no saved erasure, and no config.json with model.safetensors` +
        (some.length === 0 ? "" : `; name one of its files, as in ${some.join(", ")}`),
    );
  }

  private present(files: readonly string[]): string[] {
    return files.filter((file) => this.files.includes(file));
  }

  private namesIn(folder: string): string[] {
    return this.files
      .filter((file) => file.startsWith(folder) && !file.slice(folder.length).includes("/"))
      .map((file) => file.slice(folder.length));
  }
}
