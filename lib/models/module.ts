import type { NativeModule, NativeModuleKind } from "../runtime/binding";
import { KpopError } from "../errors";
import { addon } from "../runtime/binding";
import { unscoped } from "../runtime/scope";
import type { Tensor } from "../runtime/tensor";

/** A network in libtorch whose parameters carry the checkpoint's keys. Base of the model classes. */
export abstract class Module<Config extends object> {
  readonly config: Readonly<Config>;
  /** @internal */
  readonly native: NativeModule;
  private readonly parameters = new Map<string, Tensor>();
  private disposed = false;
  private shapes: Readonly<Record<string, number[]>> | undefined;
  private laidOutOnUse = false;
  private fromPages = false;

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

  /** For what begins with other work than the network's. @throws DISPOSED @internal */
  throwIfDisposed(): void {
    if (!this.disposed) return;
    throw new KpopError("DISPOSED", `The ${this.constructor.name} was disposed; its weights are gone`);
  }

  /**
   * The parameter itself: what is written to it is written to the network.
   * @throws INVALID_ARGUMENT when the network has no such key
   */
  parameter(name: string): Tensor {
    const found = this.parameters.get(name);
    this.throwIfDisposed();
    if (found === undefined) {
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected the name of a parameter of ${this.constructor.name} but received "${name}"; parameterNames() lists them`,
      );
    }
    return found;
  }

  /** @throws INVALID_ARGUMENT when a parameter has no data yet, nor is among those `given` in its place */
  protected requireWeights(given: ReadonlyMap<string, Tensor>): void {
    const names = this.parameterNames();
    if (this.parameters.size === names.length) return;
    const missing = names.filter((name) => !this.parameters.has(name) && !given.has(name));
    if (missing.length === 0) return;
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected every parameter of ${this.constructor.name} to have data before forward, but ${missing.length} of ${names.length} have none; the first is ${missing[0]}`,
    );
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
   * Copies the weights of convolutions, one by one, into the memory layout in which a CPU computes fastest;
   * `StableDiffusion.load` has seen to it. Names, values and handles stay.
   * @param options.onUse only when a layer computes for the first time: until then its weights stay where they are.
   *   Default false
   */
  async useFastestLayout(options: { onUse?: boolean } = {}): Promise<void> {
    const { onUse = false } = options;
    this.laidOutOnUse = onUse;
    this.fromPages ||= onUse;
    if ([...this.parameters.values()].some((weight) => weight.device === "cpu"))
      await this.native.useFastestLayout(onUse);
  }

  /** Makes the parameters of `copy` this one's: storage shared, except for `own`, which are copied in `ownDtype`. */
  protected async shareInto(
    copy: Module<Config>,
    own: ReadonlySet<string>,
    ownDtype?: "float32",
  ): Promise<void> {
    // Else each network would make copies of its own.
    if (this.laidOutOnUse) await this.useFastestLayout();
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

  /** Whether weights in their file's dtype are pages of it, and whether those have been read for an erasure. @internal */
  get pages(): "none" | "untouched" | "read" {
    if (!this.fromPages) return "none";
    return this.laidOutOnUse ? "untouched" : "read";
  }

  /** Frees the handles on the weights; memory goes with the last network that shares it. Idempotent. */
  dispose(): void {
    this.disposed = true;
    for (const tensor of this.parameters.values()) tensor.dispose();
    this.parameters.clear();
    this.native.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
