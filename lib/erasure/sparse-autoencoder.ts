import { filePath, integer, knownKeys, nonEmptyString } from "../check";
import { checkShapes } from "../diffusion/interventions/intervention";
import { autoencoderShapes } from "../diffusion/interventions/saeuron";
import { KpopError } from "../errors";
import { AUTOENCODER_FORMAT } from "../io/file-kinds";
import { localPath } from "../io/local-path";
import * as safetensors from "../io/safetensors";
import type { AutoencoderWeights } from "../nn/sparse-autoencoder";
import { scope, unscoped } from "../runtime/scope";
import type { Tensor } from "../runtime/tensor";
import type { Artefact } from "./artefact";

/** What a sparse autoencoder is made of. */
export interface SparseAutoencoderFields {
  /** float32. */
  readonly weights: AutoencoderWeights;
  /** The transformer whose outputs it was trained on. */
  readonly site: string;
  /** k: latents that are active at each place. */
  readonly active: number;
}

/**
 * A sparse autoencoder of one transformer's outputs (the method "saeuron" trains one). It tells of no concept: with
 * another one, the option `autoencoder` saves its training.
 */
export class SparseAutoencoder implements SparseAutoencoderFields, Artefact {
  /** What it is called among the artefacts of a run. */
  readonly name = "autoencoder";
  readonly weights: AutoencoderWeights;
  readonly site: string;
  readonly active: number;

  /** @internal Use `erase` with the method "saeuron", or `SparseAutoencoder.load`. */
  constructor(fields: SparseAutoencoderFields) {
    this.weights = fields.weights;
    this.site = fields.site;
    this.active = fields.active;
  }

  /** Channels of the outputs, C. */
  get width(): number {
    return this.weights.b_dec.shape[0]!;
  }

  /** How many latents it has, m. */
  get latents(): number {
    return this.weights["encoder.bias"].shape[0]!;
  }

  /**
   * Reads the file of one.
   * @param given also its name on a hub
   * @param options.device where its tensors are to be. Default "cpu"
   * @throws UNSUPPORTED_FORMAT when the file holds something else, or a damaged one; NOT_FOUND, INVALID_SAFETENSORS, IO_ERROR
   */
  static async load(
    given: string,
    options: { device?: string; signal?: AbortSignal } = {},
  ): Promise<SparseAutoencoder> {
    filePath("path", given);
    knownKeys("the options of an autoencoder", options, ["device", "signal"]);
    const { device = "cpu", signal } = options;
    const path = await localPath(given, { signal });
    await using file = await safetensors.open(path);
    const { site, active } = readRecord(file);
    const weights = await unscoped(() =>
      scope(async () => {
        const read: [string, Tensor][] = [];
        for (const name of file.names) {
          const stored = await file.read(name);
          read.push([name, await stored.to({ dtype: "float32", device }).settled()]);
        }
        return Object.fromEntries(read) as unknown as AutoencoderWeights;
      }),
    );
    return new SparseAutoencoder({ weights, site, active });
  }

  /** Writes it as a safetensors file of its own. @throws INVALID_ARGUMENT, NO_SPACE, NOT_FOUND, IO_ERROR */
  async save(path: string): Promise<void> {
    filePath("path", path);
    const record = { format: AUTOENCODER_FORMAT, site: this.site, active: String(this.active) };
    await safetensors.save(path, { ...this.weights }, record);
  }

  /** Frees its tensors. */
  dispose(): void {
    for (const tensor of Object.values(this.weights) as Tensor[]) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** What a file says of itself, its tensors' shapes checked. */
function readRecord({ path, metadata, shapes }: safetensors.SafetensorsFile): {
  site: string;
  active: number;
} {
  if (metadata["format"] !== AUTOENCODER_FORMAT)
    throw new KpopError(
      "UNSUPPORTED_FORMAT",
      `${path} is no sparse autoencoder; erase() with the method "saeuron" makes one`,
    );
  try {
    const [latents = 0, width = 0] = shapes.get("encoder.weight") ?? [];
    const found = new Map([...shapes].map(([name, shape]) => [name, { shape }]));
    checkShapes(found, autoencoderShapes(latents, width));
    return {
      site: nonEmptyString("site", metadata["site"]),
      active: integer("active", Number(metadata["active"]), 1, latents),
    };
  } catch (cause) {
    throw new KpopError("UNSUPPORTED_FORMAT", `${path} is a damaged sparse autoencoder: ${(cause as Error).message}`, { cause }); // prettier-ignore
  }
}
