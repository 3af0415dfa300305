import { filePath, knownKeys, nonEmptyString } from "../check";
import type { LearnedToken } from "../diffusion/learned-tokens";
import { KpopError } from "../errors";
import * as safetensors from "../io/safetensors";
import { unscoped } from "../runtime/scope";
import type { Tensor } from "../runtime/tensor";
import type { StepReport } from "../training/step-report";
import type { CosineBand } from "./cosine-band";

const RECORD = "kpop-inversion";

/** How an inversion was made; kept in its file. */
export interface InversionRecord {
  /** SHA-256 of each weight file of the model that it was learned on, by its place in the checkpoint. */
  inputs: Record<string, string>;
  images: number;
  /** Indices of the pictures that were cut and resized to the model's size. */
  resized: number[];
  iterations: number;
  seed: number;
  /** UNet evaluations spent, by a set as a whole. */
  unetEvaluations: number;
  /** Of a member of a set: the concept, and the bounds of the cosine with its own embedding. */
  concept?: string;
  band?: CosineBand;
}

/**
 * Embeddings that stand for a concept, learned from pictures of it. Prompts name them by their token:
 * `model.generate("a photo of a <inverted>", { tokens: [inversion] })`.
 */
export class Inversion implements LearnedToken {
  readonly token: string;
  /** (n, d) float32, on the CPU. */
  readonly embeddings: Tensor;
  /** Of the run that found it; empty for one that was loaded. The members of a set share theirs. */
  readonly history: readonly StepReport[];
  /** Null for a file of another tool. */
  readonly record: InversionRecord | null;

  /** @internal Use `invert`, `invertDiverse` or `Inversion.load`. */
  constructor(fields: {
    token: string;
    embeddings: Tensor;
    history: readonly StepReport[];
    record: InversionRecord | null;
  }) {
    this.token = fields.token;
    this.embeddings = fields.embeddings;
    this.history = fields.history;
    this.record = fields.record;
  }

  /**
   * Reads embeddings that `save` or another tool has written: one tensor of shape (n, d) or (d) under the token's name.
   * @param options.token the name in prompts, where it is not to be the file's
   * @throws UNSUPPORTED_FORMAT when the file holds something else; NOT_FOUND, INVALID_SAFETENSORS, IO_ERROR
   */
  static async load(path: string, options: { token?: string } = {}): Promise<Inversion> {
    filePath("path", path);
    knownKeys("the options of an inversion", options, ["token"]);
    if (options.token !== undefined) nonEmptyString("token", options.token);
    const file = await safetensors.open(path);
    try {
      const [name, ...others] = file.names;
      const dims = name === undefined ? 0 : file.shapes.get(name)!.length;
      if (name === undefined || others.length > 0 || dims < 1 || dims > 2) {
        throw new KpopError(
          "UNSUPPORTED_FORMAT",
          `Expected ${path} to hold the embeddings of one token, a single tensor (n, d), but it has ${file.names.length} tensors`,
        );
      }
      const embeddings = await unscoped(async () => {
        const stored = await file.read(name);
        const float = (dims === 1 ? stored.unsqueeze(0) : stored).to("float32").clone();
        stored.dispose();
        return float.settled();
      });
      const record = readRecord(path, file.metadata[RECORD]);
      return new Inversion({ token: options.token ?? name, embeddings, history: [], record });
    } finally {
      await file.close();
    }
  }

  /**
   * Writes the embeddings as diffusers, WebUI and ComfyUI read them: safetensors with one float32 tensor (n, d) under the
   * token's name. Replaces the file whole.
   * @throws NO_SPACE, NOT_FOUND, IO_ERROR
   */
  async save(path: string): Promise<void> {
    filePath("path", path);
    const record = this.record === null ? {} : { [RECORD]: JSON.stringify(this.record) };
    await safetensors.save(path, { [this.token]: this.embeddings }, { format: "pt", ...record });
  }

  dispose(): void {
    this.embeddings.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function readRecord(path: string, text: string | undefined): InversionRecord | null {
  if (text === undefined) return null;
  try {
    return JSON.parse(text) as InversionRecord;
  } catch (cause) {
    throw new KpopError("UNSUPPORTED_FORMAT", `${path} has a damaged record of how it was made`, { cause });
  }
}
