/** The contract of the two native files. Types only; `lib/runtime` is their only importer. */

/** @inline */
export type NativeDtype =
  "float32" | "float64" | "float16" | "bfloat16" | "int64" | "int32" | "uint8" | "bool";

/** What a native failure carries; the class that is thrown is made by the factory given to `initialize`. */
export interface NativeFailure {
  code: string;
  message: string;
  operation: string;
}

/** A handle on a tensor that exists, or will once the work queued before it has run. */
export interface NativeTensor {
  readonly shape: number[];
  readonly dtype: NativeDtype;
  readonly device: string;
  readonly disposed: boolean;
  dispose(): void;
}

/** A handle on one network. */
export interface NativeModule {
  readonly kind: NativeModuleKind;
  /** Parameter keys, in the order of registration, with their shapes. */
  parameterShapes(): Record<string, number[]>;
  /** Puts tensors, storage shared, in the place of parameters. Nothing is copied. */
  assign(names: string[], values: NativeTensor[]): Promise<void>;
  /** Lays weights on the CPU out as it computes fastest, now or each layer's at its first use; tensors stay the same. */
  useFastestLayout(onUse: boolean): Promise<void>;
  /** Full names of the cross-attention modules, in forward order (UNet only). */
  crossAttentionNames(): string[];
  /** Names that `unetForward` can stop at, in forward order (UNet only). */
  tapNames(): string[];
  dispose(): void;
}

export type NativeModuleKind = "unet" | "vae" | "clip-text" | "clip" | "resnet" | "inception" | "lpips";

/** Adam or AdamW over a fixed list of parameters. */
export interface NativeOptimizer {
  /** One update of every parameter that has a gradient; drops the gradients. */
  step(learningRate: number): Promise<void>;
  /** The live state, in the order of the parameters: moments, and float32 scalars that count updates. */
  state(): { first: NativeTensor[]; second: NativeTensor[]; steps: NativeTensor[] };
  dispose(): void;
}

export interface NativePrompt {
  value: NativeTensor;
  mechanism: "concat" | "additive";
  layers: string[];
}

/** What a forward of the UNet takes beside its inputs. */
export interface NativeUNetOptions {
  prompt: NativePrompt | null;
  /** Of networks of Stable Diffusion XL. */
  added: { pooled: NativeTensor; timeIds: NativeTensor } | null;
  grad: boolean;
  /** Parameters that others take the place of, for this forward alone. */
  parameterNames: string[];
  parameterValues: NativeTensor[];
}

/** A forward of the UNet. */
export interface NativeUNetForward {
  /** (B, out_channels, h, w); queued, or, where `next` is there, made once `next` has given null. */
  output: NativeTensor;
  /**
   * Starts the forward, or goes on from a stop with `replacement` in place of the module's output. Gives the next
   * stop, null at the end. Null where the forward has no stops.
   */
  next: ((replacement: NativeTensor | null) => Promise<{ name: string; output: NativeTensor } | null>) | null;
  /** Frees what the forward has computed so far; with `next`. */
  drop: (() => void) | null;
}

export interface NativeAddon {
  /** The libtorch that the addon was compiled against, for example "2.13.0". */
  readonly builtForTorch: string;
  initialize(makeError: (failure: NativeFailure) => Error): void;
  /** Waits for the work that runs now and drops what is queued: to be called before the process exits. */
  shutDown(): void;

  // Tensors. An operation on shapes that do not fit throws at once, on the JS thread.
  /** Copies `data` (any typed array; converted to `dtype`). */
  fromData(
    data: ArrayBufferView,
    shape: number[],
    dtype: NativeDtype,
    device: string,
    requiresGrad: boolean,
  ): NativeTensor;
  /** Zeros, written on the device's worker. */
  zeros(shape: number[], dtype: NativeDtype, device: string, requiresGrad: boolean): NativeTensor;
  /** Uninitialised host memory. */
  empty(shape: number[], dtype: NativeDtype): NativeTensor;
  /** Tensors over private pages of an open file, which may then be closed; null where the system does not map it, or it
   *  does not have `size` bytes. `offset`: first byte, a multiple of the element's size. */
  mapTensors(
    file: number,
    size: number,
    tensors: readonly { offset: number; shape: readonly number[]; dtype: NativeDtype }[],
  ): NativeTensor[] | null;
  /** The host memory of a contiguous CPU tensor made by `empty`: a view, no copy. */
  hostBytes(tensor: NativeTensor): Uint8Array;
  /** Standard normal draws of a CPU generator seeded with `seed` (uint64 as BigInt): PyTorch's stream. */
  randn(shape: number[], seed: bigint, dtype: NativeDtype, device: string): NativeTensor;
  /** One operation of native/bindings/tensor_ops.inc. */
  op(
    name: string,
    inputs: NativeTensor[],
    integers: number[],
    scalars: number[],
    grad: boolean,
  ): NativeTensor;
  /** The same elements in another dtype or on another device; the same tensor when nothing changes. */
  to(tensor: NativeTensor, dtype: NativeDtype, device: string, grad: boolean): NativeTensor;
  /** Overwrites the elements of `target`, outside of autograd. */
  copyInto(target: NativeTensor, source: NativeTensor): Promise<void>;
  /** Elements as the matching typed array (half types widened to float32). */
  read(tensor: NativeTensor): Promise<ArrayBufferView>;
  /** The one element of a tensor. */
  item(tensor: NativeTensor): Promise<number>;
  /** Stored bytes, little-endian, in the tensor's own dtype. */
  readBytes(tensor: NativeTensor): Promise<Uint8Array>;
  /** Resolves when everything queued on the device so far has run; rejects when the tensor's own work failed. */
  settle(tensor: NativeTensor): Promise<void>;
  requireGrad(tensors: NativeTensor[], on: boolean): Promise<void> | undefined;
  /** Gradients of `loss` into `inputs` when given, else into every leaf that asks for one. */
  backward(loss: NativeTensor, inputs: NativeTensor[] | null): Promise<void>;
  /** The gradient as the last backward, zeroGrad or step that has ended left it; null when there is none. */
  grad(tensor: NativeTensor): NativeTensor | null;
  zeroGrad(tensors: NativeTensor[]): Promise<void> | undefined;
  /** Scales the gradients so that their global norm is at most `maxNorm`, unless it is not finite; gives the norm. */
  clipGradients(tensors: NativeTensor[], maxNorm: number): Promise<number>;

  // Networks. `config` is the validated configuration with the checkpoint's field names.
  createModule(kind: NativeModuleKind, config: object): NativeModule;
  unetForward(
    module: NativeModule,
    sample: NativeTensor,
    timesteps: number[],
    context: NativeTensor,
    options: NativeUNetOptions,
    /** Modules to stop at, of `tapNames`. */
    stops: string[],
  ): NativeUNetForward;
  vaeEncode(module: NativeModule, image: NativeTensor, grad: boolean): Promise<[NativeTensor, NativeTensor]>;
  vaeDecode(module: NativeModule, latents: NativeTensor, grad: boolean): Promise<NativeTensor>;
  /** `embeddings`, where given, take the place of those of `inputIds`. */
  clipTextForward(
    module: NativeModule,
    inputIds: NativeTensor,
    grad: boolean,
    embeddings?: NativeTensor,
  ): Promise<NativeTensor>;
  /** The states before the last `skip` layers, and the pooled text of an encoder that has a projection. */
  clipTextHiddenStates(
    module: NativeModule,
    inputIds: NativeTensor,
    grad: boolean,
    embeddings: NativeTensor | undefined,
    skip: number,
  ): Promise<[hidden: NativeTensor, pooled: NativeTensor | null]>;
  clipTextEmbed(module: NativeModule, inputIds: NativeTensor, grad: boolean): Promise<NativeTensor>;
  clipTextFeatures(module: NativeModule, inputIds: NativeTensor, grad: boolean): Promise<NativeTensor>;
  clipImageFeatures(module: NativeModule, pixels: NativeTensor, grad: boolean): Promise<NativeTensor>;
  resnetForward(
    module: NativeModule,
    images: NativeTensor,
    grad: boolean,
    train: boolean,
  ): Promise<NativeTensor>;
  inceptionForward(module: NativeModule, images: NativeTensor, grad: boolean): Promise<NativeTensor>;
  lpipsForward(
    module: NativeModule,
    first: NativeTensor,
    grad: boolean,
    second: NativeTensor,
  ): Promise<NativeTensor>;

  createAdam(
    parameters: NativeTensor[],
    options: { beta1: number; beta2: number; eps: number; weightDecay: number; decoupled: boolean },
  ): Promise<NativeOptimizer>;

  // The machine.
  deviceCount(): number;
  cpuCapability(): string;
  setThreads(count: number): Promise<void>;
  threads(): number;
}

/** The torch-free loader that opens libtorch before the addon. */
export interface NativeLoader {
  /** The libtorch that the addon beside it was compiled against, for example "2.13.0". */
  readonly builtForTorch: string;
  /** Opens shared libraries by absolute path, in order, with global symbols; the linker's own words on failure. */
  open(paths: string[]): OpenedLibraries;
  /** The same away from the JS thread. */
  openAsync(paths: string[]): Promise<OpenedLibraries>;
}

export type OpenedLibraries =
  { ok: true; version: string | null } | { ok: false; path: string; message: string };
