import { filePath, finite, invalid, knownKeys, nonEmptyString, oneOf } from "../check";
import { hashUNet } from "../diffusion/model-hash";
import { StableDiffusion } from "../diffusion/stable-diffusion";
import { KpopError } from "../errors";
import { TASK_VECTOR_FORMAT } from "../io/file-kinds";
import { localPath } from "../io/local-path";
import * as safetensors from "../io/safetensors";
import { selectParameters, type ParameterSelector } from "../models/parameter-selector";
import { noGrad } from "../runtime/grad-mode";
import { scope, unscoped } from "../runtime/scope";
import type { Tensor } from "../runtime/tensor";
import type { Artefact } from "./artefact";

/** What a task vector is made of. */
export interface TaskVectorFields {
  /** τ by UNet key, float32, on the CPU. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  /** SHA-256 of the UNet weights that it starts from. */
  readonly base: string;
  /** What it leads towards. */
  readonly concepts: readonly string[];
  /** What it is called among the artefacts of its run. Default: after its concepts. */
  readonly name?: string;
}

/** How a task vector is applied. */
export interface ApplyOptions {
  /** α of θ' = θ − α τ. Negative values bring more of the concept. Default 1. */
  alpha?: number;
  /** Which of its parameters count. Default all. */
  parameters?: ParameterSelector;
}

/**
 * The way from a model's weights to those that were fine-tuned towards a concept, τ = θ_ft − θ_pre (Ilharco et al., arXiv
 * 2212.04089). Subtracted, it erases the concept whatever prompt it is asked for with (arXiv 2404.03631).
 */
export class TaskVector implements TaskVectorFields, Artefact {
  readonly parameters: ReadonlyMap<string, Tensor>;
  readonly base: string;
  readonly concepts: readonly string[];
  /** "task-vector-church". */
  readonly name: string;

  /** @internal Use `erase` with the method "task-vector", or `TaskVector.load`. */
  constructor(fields: TaskVectorFields) {
    this.parameters = fields.parameters;
    this.base = fields.base;
    this.concepts = fields.concepts;
    this.name = fields.name ?? artefactName(this.concepts);
  }

  /**
   * Reads the file of one.
   * @param given also its name on a hub
   * @throws UNSUPPORTED_FORMAT when the file holds something else; NOT_FOUND, INVALID_SAFETENSORS, IO_ERROR
   */
  static async load(given: string, options: { signal?: AbortSignal } = {}): Promise<TaskVector> {
    filePath("path", given);
    knownKeys("the options of a task vector", options, ["signal"]);
    const path = await localPath(given, { signal: options.signal });
    const { base, concepts } = await readRecord(path);
    const stored = await unscoped(() => safetensors.load(path));
    const parameters = new Map<string, Tensor>();
    for (const [name, tensor] of stored) {
      const float = await unscoped(() => tensor.to("float32")).settled();
      if (float !== tensor && tensor.dtype !== "float32") tensor.dispose();
      parameters.set(name, float);
    }
    return new TaskVector({ parameters, base, concepts });
  }

  /**
   * Writes τ as a safetensors file of its own.
   * @param options.dtype of the file; half the bytes cost three digits. Default "float32"
   * @throws INVALID_ARGUMENT, NO_SPACE, NOT_FOUND, IO_ERROR
   */
  async save(path: string, options: { dtype?: "float32" | "float16" | "bfloat16" } = {}): Promise<void> {
    filePath("path", path);
    knownKeys("the options of a task vector", options, ["dtype"]);
    const dtype = oneOf("dtype", options.dtype ?? "float32", ["float32", "float16", "bfloat16"] as const);
    const record = { format: TASK_VECTOR_FORMAT, base: this.base, concepts: JSON.stringify(this.concepts) };
    await scope(() =>
      safetensors.save(
        path,
        new Map([...this.parameters].map(([name, tensor]) => [name, tensor.to(dtype)])),
        record,
      ),
    );
  }

  /** τ₁ + τ₂, over the parameters of both. @throws INVALID_ARGUMENT when they start from different weights */
  add(other: TaskVector): TaskVector {
    if (!(other instanceof TaskVector)) throw invalid("other", "a TaskVector", other);
    if (other.base !== this.base)
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected task vectors of one base but they start from weights of SHA-256 ${short(this.base)} and ${short(other.base)}`,
      );
    const names = new Set([...this.parameters.keys(), ...other.parameters.keys()]);
    return this.derived([...names], [...new Set([...this.concepts, ...other.concepts])], (name) => {
      const [a, b] = [this.parameters.get(name), other.parameters.get(name)];
      return a !== undefined && b !== undefined ? a.add(b) : (a ?? b)!.clone();
    });
  }

  /** factor · τ. @throws INVALID_ARGUMENT */
  scale(factor: number): TaskVector {
    finite("factor", factor);
    return this.derived([...this.parameters.keys()], this.concepts, (name) =>
      this.parameters.get(name)!.mul(factor),
    );
  }

  /**
   * A model with the weights θ' = θ − α τ, in float32; it shares all others with the one given, which stays as it is.
   * @throws INVALID_ARGUMENT when the model is not the one that τ starts from, or `parameters` selects nothing; IO_ERROR
   */
  async apply(model: StableDiffusion, options: ApplyOptions = {}): Promise<StableDiffusion> {
    if (!(model instanceof StableDiffusion)) throw invalid("model", "a StableDiffusion", model);
    knownKeys("the apply options", options, ["alpha", "parameters"]);
    const alpha = finite("alpha", options.alpha ?? 1);
    const base = await hashUNet(model);
    if (base !== this.base)
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected the model that this task vector starts from, whose UNet has SHA-256 ${short(this.base)}, but received one with ${short(base)}`,
      );
    const names = [...this.parameters.keys()];
    const chosen = options.parameters === undefined ? names : selectParameters(options.parameters, names);
    return unscoped(async () => {
      const edited = await model.derive(new Set(chosen), "float32");
      try {
        await subtract(edited, chosen, [{ vector: this, alpha }]);
        return edited;
      } catch (error) {
        edited.dispose();
        throw error;
      }
    });
  }

  /** Frees τ. */
  dispose(): void {
    for (const tensor of this.parameters.values()) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private derived(
    names: readonly string[],
    concepts: readonly string[],
    make: (name: string) => Tensor,
  ): TaskVector {
    const parameters = unscoped(() => noGrad(() => new Map(names.map((name) => [name, make(name)]))));
    return new TaskVector({ parameters, base: this.base, concepts });
  }
}

/**
 * What the task vectors of a run's concepts are called, one for each. Of concepts with the same words ("red car" and
 * "red-car"; what has no letters has none) the second and later ones have a number behind them, as files are named by it.
 */
export function artefactNames(concepts: readonly string[]): string[] {
  const plain = concepts.map((concept) => artefactName([concept]));
  const used = new Set<string>();
  return plain.map((name) => {
    let [own, number] = [name, 1];
    // "red car 2" may be a concept as well.
    while (used.has(own) || (number > 1 && plain.includes(own))) own = `${name}-${++number}`;
    used.add(own);
    return own;
  });
}

function artefactName(concepts: readonly string[]): string {
  const words =
    concepts
      .join(" ")
      .toLowerCase()
      .match(/[\p{L}\p{N}]+/gu) ?? [];
  return ["task-vector", ...words].join("-");
}

/** A task vector and its strength. */
export interface WeightedVector {
  readonly vector: TaskVectorFields;
  readonly alpha: number;
  /** Of its parameters, those that count. Default all. */
  readonly names?: ReadonlySet<string>;
}

/** Takes Σ α τ off weights that are still those τ starts from. */
export async function subtract(
  { unet }: Pick<StableDiffusion, "unet">,
  names: readonly string[],
  vectors: readonly WeightedVector[],
): Promise<void> {
  for (const name of names) {
    await scope(() =>
      noGrad(async () => {
        const weight = unet.parameter(name);
        let result = weight.detach();
        for (const { vector, alpha, names: counted } of vectors) {
          const tau = vector.parameters.get(name);
          if (tau === undefined || counted?.has(name) === false) continue;
          if (tau.shape.join() !== weight.shape.join())
            throw invalid(`τ of ${name}`, `of shape (${weight.shape.join(", ")})`, tau.shape);
          result = result.sub(tau.to({ dtype: weight.dtype, device: weight.device }).mul(alpha));
        }
        await weight.copyFrom(result);
      }),
    );
  }
}

async function readRecord(path: string): Promise<{ base: string; concepts: string[] }> {
  const file = await safetensors.open(path);
  const { metadata } = file;
  await file.close();
  if (metadata["format"] !== TASK_VECTOR_FORMAT)
    throw new KpopError("UNSUPPORTED_FORMAT", `${path} is no task vector; TaskVector.save writes one`);
  try {
    const concepts = JSON.parse(metadata["concepts"] ?? "") as string[];
    return { base: nonEmptyString("base", metadata["base"]), concepts };
  } catch (cause) {
    throw new KpopError("UNSUPPORTED_FORMAT", `${path} is a damaged task vector`, { cause });
  }
}

function short(hash: string): string {
  return `${hash.slice(0, 12)}…`;
}
