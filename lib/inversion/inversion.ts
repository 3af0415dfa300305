import { filePath, knownKeys, nonEmptyString } from "../check";
import type { LearnedToken } from "../diffusion/learned-tokens";
import { KpopError } from "../errors";
import * as safetensors from "../io/safetensors";
import { scope, unscoped } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";
import type { StepReport } from "../training/step-report";
import type { CosineBand } from "./cosine-band";

const RECORD = "kpop-inversion";
/** Metadata key of the token, where the tensors are named by the text encoders that they are for. */
const TOKEN = "kpop-token";
/** What tools call the embeddings for Stable Diffusion XL's two text encoders, in their order. */
const ENCODERS = ["clip_l", "clip_g"] as const;

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
  /** (n, d) float32, on the CPU. With two text encoders, the numbers for the second stand behind the first's. */
  readonly embeddings: Tensor;
  /** How many of the d numbers are for each text encoder, where there are two. */
  readonly widths: readonly number[] | null;
  /** Of the run that found it; empty for one that was loaded. The members of a set share theirs. */
  readonly history: readonly StepReport[];
  /** Null for a file of another tool. */
  readonly record: InversionRecord | null;

  /** @internal Use `invert`, `invertDiverse` or `Inversion.load`. */
  constructor(fields: {
    token: string;
    embeddings: Tensor;
    widths?: readonly number[] | null;
    history: readonly StepReport[];
    record: InversionRecord | null;
  }) {
    this.token = fields.token;
    this.embeddings = fields.embeddings;
    this.widths = fields.widths ?? null;
    this.history = fields.history;
    this.record = fields.record;
  }

  /**
   * Reads embeddings that `save` or another tool has written: one tensor of shape (n, d) or (d) under the token's name, or
   * "clip_l" and "clip_g", those for Stable Diffusion XL's two text encoders.
   * @param options.token the name in prompts, where it is not to be the file's
   * @throws UNSUPPORTED_FORMAT when the file holds something else; NOT_FOUND, INVALID_SAFETENSORS, IO_ERROR
   */
  static async load(path: string, options: { token?: string } = {}): Promise<Inversion> {
    filePath("path", path);
    knownKeys("the options of an inversion", options, ["token"]);
    if (options.token !== undefined) nonEmptyString("token", options.token);
    const file = await safetensors.open(path);
    try {
      const both = ENCODERS.every((name) => file.shapes.has(name));
      const names = both ? ENCODERS : file.names;
      const ranks = names.map((name) => file.shapes.get(name)!.length);
      const counts = new Set(names.map((name, i) => (ranks[i] === 1 ? 1 : file.shapes.get(name)![0])));
      const fits = file.names.length === (both ? 2 : 1) && counts.size === 1;
      if (!fits || ranks.some((rank) => rank < 1 || rank > 2)) {
        throw new KpopError(
          "UNSUPPORTED_FORMAT",
          `Expected ${path} to hold the embeddings of one token, a single tensor (n, d) or clip_l and clip_g, but it has ${file.names.length} tensors`,
        );
      }
      const token = options.token ?? file.metadata[TOKEN] ?? (both ? undefined : names[0]);
      if (token === undefined)
        throw new KpopError("INVALID_ARGUMENT", `${path} does not name its token; give one (token)`);
      const embeddings = await unscoped(() =>
        scope(async () => {
          const parts = [];
          for (const [i, name] of names.entries()) {
            const stored = await file.read(name);
            parts.push((ranks[i] === 1 ? stored.unsqueeze(0) : stored).to("float32"));
          }
          return Tensor.cat(parts, 1).settled();
        }),
      );
      const widths = both ? names.map((name) => file.shapes.get(name)!.at(-1)!) : null;
      const record = readRecord(path, file.metadata[RECORD]);
      return new Inversion({ token, embeddings, widths, history: [], record });
    } finally {
      await file.close();
    }
  }

  /**
   * Writes the embeddings as diffusers, WebUI and ComfyUI read them: safetensors with one float32 tensor (n, d) under the
   * token's name, or with "clip_l" and "clip_g" for two text encoders. Replaces the file whole.
   * @throws NO_SPACE, NOT_FOUND, IO_ERROR
   */
  async save(path: string): Promise<void> {
    filePath("path", path);
    const record = this.record === null ? {} : { [RECORD]: JSON.stringify(this.record) };
    const { embeddings, token, widths } = this;
    if (widths === null) {
      await safetensors.save(path, { [token]: embeddings }, { format: "pt", ...record });
      return;
    }
    await scope(() => {
      const parts = [embeddings.slice(1, 0, widths[0]), embeddings.slice(1, widths[0]!)];
      const named = ENCODERS.map((name, i): [string, Tensor] => [name, parts[i]!.contiguous()]);
      return safetensors.save(path, Object.fromEntries(named), { format: "pt", [TOKEN]: token, ...record });
    });
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
