/**
 * The public API as a strict consumer sees it. Compiled, never run: `tsc --noEmit` for the sources, api.test.ts for the
 * declarations that are published.
 */
import {
  attribution,
  certify,
  erase,
  evaluate,
  generateImageSet,
  ImageClassifier,
  KpopError,
  newSigningKey,
  overlay,
  PromptKey,
  safetensors,
  StableDiffusion,
  Tensor,
  verify,
  writeReport,
  type CaOptions,
  type CommonOptions,
  type EraseOptions,
  type Erasure,
  type ErasureCertificate,
  type Comparison,
  type Evaluation,
  type EvaluationShard,
  type EsdOptions,
  type Image,
  type KpopErrorCode,
  type KpopOptions,
  type PrepareReport,
  type OceOptions,
  type PromptLayers,
  type Ranking,
  type Rate,
  type ReceOptions,
  type RunManifest,
  type SpeedOptions,
  type StepReport,
  type UNetConfig,
} from "../../lib/index";

/** Compiles only where T and U are the same type. */
type Equal<T, U> = (<X>() => X extends T ? 1 : 2) extends <X>() => X extends U ? 1 : 2 ? true : false;
/** `exactly<T>()(value)` compiles only where the value's type is T, neither wider nor narrower. */
declare function exactly<Expected>(): <Actual>(
  value: Actual,
  ...mismatch: Equal<Actual, Expected> extends true ? [] : [{ expected: Expected }]
) => void;

declare const model: StableDiffusion;
declare const tensor: Tensor;
declare const erasure: Erasure;
declare const { signal }: AbortController;

export async function loading(): Promise<void> {
  const loaded = await StableDiffusion.load("pocket");
  exactly<StableDiffusion>()(loaded);
  await StableDiffusion.load("folder", {
    device: "cuda:1",
    dtype: "bfloat16",
    signal,
    onProgress: ({ bytes }) => bytes + 1,
  });
  // @ts-expect-error a device is "auto", "cpu", "cuda" or "cuda:N"
  await StableDiffusion.load("folder", { device: "tpu" });
  // @ts-expect-error unknown option
  await StableDiffusion.load("folder", { gpu: true });
  // @ts-expect-error no path
  await StableDiffusion.load();
  // @ts-expect-error read-only
  model.unet = loaded.unet;
  using disposed = model;
  exactly<string>()(disposed.device);
}

export async function generating(): Promise<void> {
  const images = await model.generate(["a", "b"], {
    steps: 20,
    sampler: "pndm",
    seed: 1,
    count: 2,
    onStep: (s) => s.step,
  });
  exactly<Image[]>()(images);
  const bytes = await images[0]!.png();
  exactly<Buffer>()(bytes);
  exactly<Uint8Array>()(images[0]!.data);
  await model.generate("a", erasure.key === undefined ? {} : { key: erasure.key });
  // @ts-expect-error unknown sampler
  await model.generate("a", { sampler: "dpm++" });
  // @ts-expect-error the key may be missing; an absent option is left out
  await model.generate("a", { key: erasure.key });
  // @ts-expect-error no prompt
  await model.generate();
  await model.save("folder", { format: "delta", force: true, signal });
  // @ts-expect-error unknown format
  await model.save("folder", { format: "ckpt" });
}

export async function networks(): Promise<void> {
  const layers: PromptLayers = ["mid_block.attentions.0.transformer_blocks.0.attn2"];
  const noise = await model.unet.forward(tensor, [1, 2], tensor, {
    prompt: tensor,
    mechanism: "additive",
    layers,
    grad: true,
  });
  exactly<Tensor>()(noise);
  await model.unet.forward(tensor, 500, tensor, {
    taps: { mid_block: (output) => output.mul(2), "skips.0": async (output) => void (await output.data()) },
    parameters: new Map([["conv_in.bias", tensor]]),
  });
  // @ts-expect-error a tap returns a tensor or nothing
  await model.unet.forward(tensor, 500, tensor, { taps: { mid_block: () => 3 } });
  exactly<Map<string, Tensor>>()(await model.unet.activations(tensor, 500, tensor, model.unet.tapNames()));
  exactly<Readonly<UNetConfig>>()(model.unet.config);
  exactly<string[]>()(model.unet.parameterNames());
  // @ts-expect-error a timestep is a number or a list of them
  await model.unet.forward(tensor, "500", tensor);
  // @ts-expect-error layers are "mid", "mid-up", "all" or names
  await model.unet.forward(tensor, 500, tensor, { layers: "down" });
  const { mean, logvar } = await model.vae.encode(tensor);
  exactly<Tensor>()(mean);
  exactly<Tensor>()(logvar);
  const ids: number[][] = model.tokenizer.encode(["a"], { padding: true, truncation: false });
  const text: string = model.tokenizer.decode(ids[0]!);
  await model.encode(text);
}

export async function tensors(): Promise<void> {
  const made = Tensor.from([1, 2], [2], { dtype: "float64", requiresGrad: true });
  made
    .add(1)
    .sub(made)
    .mul(2)
    .matmul(tensor)
    .mean([0], true)
    .square()
    .reshape([1])
    .permute([0])
    .slice(0, 1)
    .detach();
  const value: number = await made.sum().item();
  const gradient: Tensor | null = made.grad;
  // @ts-expect-error maybe null
  gradient.add(value);
  // @ts-expect-error no such dtype
  made.to("float8");
  // @ts-expect-error read-only
  made.dtype = "float32";
  const read: Map<string, Tensor> = await safetensors.load("a.safetensors");
  await safetensors.save("b.safetensors", read, { format: "pt" });
  const file = await safetensors.open("a.safetensors");
  await file.read(file.names[0]!);
  // @ts-expect-error metadata are texts
  await safetensors.save("b.safetensors", read, { count: 1 });
}

export async function erasing(): Promise<void> {
  const result = await erase(model, {
    concepts: ["church", "dog"],
    preserve: ["a fish"],
    neighbours: { choose: "adversarial", count: 10, words: ["dog"] },
    iterations: 10,
    learningRate: (iteration, iterations) => 1e-4 * (1 - iteration / iterations),
    promptLearningRate: { from: 1e-2, to: 0, shape: "cosine", warmup: 10 },
    prompt: { size: 4, mechanism: "concat", layers: "mid-up", perConcept: true },
    parameters: (name) => name.includes("attn2"),
    latents: "restart",
    checkpoint: { directory: "state", every: 10 },
    resume: true,
    signal,
    onStep: ({ losses, etaSeconds }: StepReport) => void [losses["erase"], etaSeconds],
  });
  exactly<Erasure>()(result);
  exactly<PromptKey | undefined>()(result.key);
  exactly<RunManifest>()(result.manifest);
  exactly<StepReport[]>()(result.history);
  await erase("pocket", { concepts: "church", method: "kpop" });
  await erase(model, {
    method: "esd",
    concepts: ["red", "old"],
    from: "a car",
    negativeGuidance: 2,
    sampledBy: "teacher",
    parameters: "esd-u",
    templates: ["a {}"],
    poolSize: 4,
  });
  await erase(model, {
    method: "ca",
    concepts: ["Monet", "Van Gogh"],
    kind: "style",
    anchor: "painting",
    parameters: "embedding",
    onPrepare: ({ what, done, total, etaSeconds }: PrepareReport) => void [what, done / total, etaSeconds],
  });
  // @ts-expect-error of CA alone
  await erase(model, { method: "esd", concepts: "church", parameters: "embedding" });
  // @ts-expect-error an option of KPOP
  await erase(model, { method: "esd", concepts: "church", neutral: "a photo" });
  // @ts-expect-error "student" or "teacher"
  await erase(model, { method: "esd", concepts: "church", sampledBy: "both" });
  await erase(model, { method: "uce", concepts: "church", neighbours: "off" });
  // @ts-expect-error "nearest", "adversarial" or "off"
  await erase(model, { concepts: "church", neighbours: "near" });
  // @ts-expect-error concepts are needed
  await erase(model, {});
  // @ts-expect-error unknown option
  await erase(model, { concepts: "church", iteration: 5 });
  // @ts-expect-error unknown method
  await erase(model, { concepts: "church", method: "magic" });
  // @ts-expect-error unknown selector
  await erase(model, { concepts: "church", parameters: "attention" });
  // @ts-expect-error a shape needs both ends
  await erase(model, { concepts: "church", lambda: { from: 1, shape: "linear" } });
  // @ts-expect-error a custom source gives latents with their timestep
  await erase(model, { concepts: "church", latents: (async function* () { yield tensor; })() }); // prettier-ignore
  // @ts-expect-error an option that is undefined is not an option that is absent
  await erase(model, { concepts: "church", seed: undefined });
  const common: CommonOptions = { concepts: "church" } satisfies KpopOptions satisfies EraseOptions;
  void common;
  const ca: EraseOptions = { method: "ca", concepts: "grumpy cat", anchor: "cat" } satisfies CaOptions;
  void ca;
  const esd: EraseOptions = { method: "esd", concepts: "church" } satisfies EsdOptions;
  void esd;
  const rece: EraseOptions = {
    ...{ method: "rece", concepts: "church", epochs: 2, start: { alignment: "tail", lambda: 0.1 } },
    validate: async (view, round) => {
      exactly<StableDiffusion>()(view);
      return (await view.generate("church")).length - round;
    },
  } satisfies ReceOptions;
  void rece;
  // @ts-expect-error a score is a number
  await erase(model, { method: "rece", concepts: "church", validate: () => "good" });
  const speed: EraseOptions = { method: "speed", concepts: "church", filter: false } satisfies SpeedOptions;
  void speed;
  const oce: EraseOptions = { method: "oce", concepts: "church", captions: ["a dog"] } satisfies OceOptions;
  void oce;
  await result.save("folder", { format: "single-file", force: true });
}

export async function keys(): Promise<void> {
  const key = await PromptKey.load("key.safetensors", { passphrase: "p" });
  exactly<string[]>()(key.concepts);
  exactly<Tensor>()(key.prompt);
  await key.save("other.safetensors");
  // @ts-expect-error misspelt
  await key.save("other.safetensors", { passPhrase: "p" });
}

export function failing(error: unknown): KpopErrorCode | undefined {
  if (!(error instanceof KpopError)) return undefined;
  // @ts-expect-error no such code
  if (error.code === "OOPS") return undefined;
  return error.code;
}

export async function certifying(): Promise<void> {
  const { privateKey, publicKey } = await newSigningKey("signer.pem");
  const made = await certify("folder", {
    base: "pocket",
    signingKey: privateKey,
    evaluations: ["measured"],
    file: "certificate.json",
    modelCard: { license: "mit" },
  });
  exactly<ErasureCertificate>()(made.certificate);
  const found = await verify("certificate.json", {
    signer: publicKey,
    model: "folder",
    rerun: 2,
    classifier: "pocket",
    device: "cpu",
    onProgress: (done, total) => void (done / total),
  });
  exactly<boolean>()(found.ok);
  exactly<ErasureCertificate | null>()(found.certificate);
  exactly<Rate | undefined>()(made.certificate.evaluations[0]!.figures.esr[1]);
  // @ts-expect-error a signing key is needed
  await certify("folder", { base: "pocket" });
  // @ts-expect-error misspelt
  await verify("certificate.json", { signers: publicKey });
}

export async function reporting(): Promise<void> {
  const [found] = await attribution("pocket", "a church", {
    heads: true,
    words: ["church"],
    directory: "attended",
  });
  exactly<Float32Array | undefined>()(found?.words[0]?.heads?.[0]?.data);
  exactly<Image>()(await overlay(found!.image, found!.words[0]!.map));
  const page = await writeReport(["folder", "measured", "attended"], "page.html", { pictures: 8, signal });
  exactly<number>()(page.missing);
  // @ts-expect-error a place is needed
  await writeReport("folder");
  // @ts-expect-error pictures are drawn one by one
  await attribution("pocket", "a church", { batchSize: 4 });
}

export async function evaluating(): Promise<void> {
  const evaluation = await evaluate(erasure.model, {
    erased: ["church"],
    preserved: ["dog"],
    classifier: "pocket",
    topK: [1],
    signal,
    onProgress: ({ phase, etaSeconds }) =>
      exactly<"reference" | "estimate" | "images" | "classes">()(phase) ?? etaSeconds,
  });
  exactly<Evaluation>()(evaluation);
  exactly<Rate | undefined>()(evaluation.esr[1]);
  exactly<number | undefined>()(evaluation.metrics?.fid?.all.value);
  exactly<number | undefined>()(evaluation.pictures[0]?.metrics?.lpips);
  const several = ["pocket", { name: "after", model }];
  const shard = { index: 0, count: 2 };
  exactly<Comparison>()(await evaluate(several, { erased: ["church"] }));
  exactly<EvaluationShard>()(await evaluate(several, { erased: ["church"], resultFile: "r.json", shard }));
  // @ts-expect-error: names come as a list
  await evaluate("pocket", { erased: "church" });
  // @ts-expect-error: a set needs a place to be kept in
  await generateImageSet(model, [{ prompt: "church", seed: 0 }], {});
  const set = await generateImageSet(model, [{ prompt: "church", seed: 0 }], { directory: "pictures" });
  exactly<Image>()(await set.image(0));
  using classifier = await ImageClassifier.load("resnet50.safetensors", { classes: { church: 497 } });
  exactly<Ranking[]>()(await classifier.classify([await set.image(0)]));
}
