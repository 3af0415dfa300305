import type { NativeModule, NativeModuleKind } from "../runtime/binding";
import { KpopError } from "../errors";
import { addon } from "../runtime/binding";
import { unscoped } from "../runtime/scope";
import { fastestLayout, type Tensor } from "../runtime/tensor";

/** A network in libtorch whose parameters carry the checkpoint's keys. Base of the model classes. */
export abstract class Module<Config extends object> {
  readonly config: Readonly<Config>;
  /** @internal */
  readonly native: NativeModule;
  private readonly parameters = new Map<string, Tensor>();
  private shapes: Readonly<Record<string, number[]>> | undefined;

  /** @param what where the configuration comes from, for messages @throws UNSUPPORTED_MODEL */
  protected constructor(kind: NativeModuleKind, config: Config, what: string) {
    this.config = Object.freeze(config);
    try {
      this.native = addon().createModule(kind, config);
    } catch (cause) {
      if (!(cause instanceof KpopError) || cause.code !== "INVALID_ARGUMENT") throw cause;
      throw new KpopError("UNSUPPORTED_MODEL", `${what}: ${cause.message}`, { cause });
    }
  }

  /** Keys of all parameters, in the order of registration. */
  parameterNames(): string[] {
    return Object.keys(this.parameterShapes());
  }

  /** Keys with shapes; known before any weight is loaded. */
  parameterShapes(): Readonly<Record<string, number[]>> {
    this.shapes ??= Object.freeze(this.native.parameterShapes());
    return this.shapes;
  }

  /**
   * The parameter itself: what is written to it is written to the network.
   * @throws INVALID_ARGUMENT when the network has no such key
   */
  parameter(name: string): Tensor {
    const found = this.parameters.get(name);
    if (found === undefined) {
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected the name of a parameter of ${this.constructor.name} but received "${name}"; parameterNames() lists them`,
      );
    }
    return found;
  }

  /** Puts tensors in the place of parameters, without copying; the module owns their handles from then on. */
  async assign(tensors: ReadonlyMap<string, Tensor>): Promise<void> {
    if (tensors.size === 0) return;
    await this.native.assign(
      [...tensors.keys()],
      [...tensors.values()].map((tensor) => tensor.native),
    );
    for (const [name, tensor] of tensors) {
      const before = this.parameters.get(name);
      if (before !== tensor) before?.dispose();
      this.parameters.set(name, tensor);
    }
  }

  /**
   * Copies weights, one by one, into the memory layout in which the device computes fastest; `StableDiffusion.load` has
   * done it. Values and names stay.
   */
  async useFastestLayout(): Promise<void> {
    for (const [name, weight] of this.parameters) {
      if (weight.shape.length !== 4) continue;
      const placed = await unscoped(() => fastestLayout(weight)).settled();
      await this.assign(new Map([[name, placed]]));
    }
  }

  /** Makes the parameters of `copy` this one's: storage shared, except for `own`, which are copied in `ownDtype`. */
  protected async shareInto(
    copy: Module<Config>,
    own: ReadonlySet<string>,
    ownDtype?: "float32",
  ): Promise<void> {
    const tensors = unscoped(() => {
      const shared = new Map<string, Tensor>();
      for (const [name, tensor] of this.parameters) {
        const alias = tensor.detach();
        const given = !own.has(name)
          ? alias
          : ownDtype === undefined || ownDtype === tensor.dtype
            ? alias.clone()
            : alias.to(ownDtype);
        if (given !== alias) alias.dispose();
        // Whoever saves the copy has to know that the source's file no longer holds these values.
        given.written = tensor.written;
        shared.set(name, given);
      }
      return shared;
    });
    await copy.assign(tensors);
  }

  /** Frees the handles on the weights; memory goes with the last network that shares it. Idempotent. */
  dispose(): void {
    for (const tensor of this.parameters.values()) tensor.dispose();
    this.parameters.clear();
    this.native.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
