import { invalid, knownKeys } from "../check";
import { KpopError } from "../errors";
import type { NativeUNetForward } from "../runtime/binding";
import { noGrad } from "../runtime/grad-mode";
import { Tensor } from "../runtime/tensor";

/** Which attn2 layers take a learned prompt: the middle block's, those and the up blocks', all, or these modules. */
export type PromptLayers = "mid" | "mid-up" | "all" | string[];

/** How a learned prompt enters: as further rows of the context, or added to it (KPOP, arXiv 2403.12326, §3.3). */
export type PromptMechanism = "concat" | "additive";

/**
 * Is shown a module's output; what it returns, of that shape, takes its place. It is called without recording a graph
 * unless the forward records one.
 */
export type Tap = (output: Tensor) => Tensor | void | Promise<Tensor | void>;

/** What a network of Stable Diffusion XL is told beside text and time (arXiv 2307.01952, §2.2). */
export interface AddedConditions {
  /** The text as one vector, (B, p). */
  readonly pooled: Tensor;
  /**
   * (B, 6): height and width of the picture before it was resized, top and left of what was cut out of it, height and width
   * of what is drawn; pixels.
   */
  readonly timeIds: Tensor;
}

/** What the steps of a forward are computed with. */
export interface UNetActivationOptions {
  /** What networks whose `addition_embed_type` is "text_time" take, and no others. */
  added?: AddedConditions | undefined;
  /** Learned prompt. concat: (k, d) or (B, k, d), appended after the text rows. additive: (L, d) or (B, L, d). */
  prompt?: Tensor;
  /** Default "concat". */
  mechanism?: PromptMechanism;
  /** Default "mid". */
  layers?: PromptLayers;
  /** Whether to record a graph for `backward()`. Default false. */
  grad?: boolean;
  /**
   * Tensors that take the place of parameters, by key, for this forward alone. With `grad` the graph goes on into what
   * they were computed from.
   */
  parameters?: ReadonlyMap<string, Tensor>;
}

/** What a forward takes beside its inputs. */
export interface UNetForwardOptions extends UNetActivationOptions {
  /** Functions that are shown the outputs of modules, by names of `tapNames()`, in the order of the forward. */
  taps?: Readonly<Record<string, Tap>>;
}

const activationKeys = ["added", "prompt", "mechanism", "layers", "grad", "parameters"];
export const checkActivationOptions = (options: UNetActivationOptions): void =>
  knownKeys("the options of activations", options, activationKeys);
export const checkForwardOptions = (options: UNetForwardOptions): void =>
  knownKeys("the forward options", options, [...activationKeys, "taps"]);

/** @throws INVALID_ARGUMENT for a name that is none of the network's */
export function checkTapNames(names: readonly string[], known: readonly string[]): void {
  for (const name of names) {
    if (known.includes(name)) continue;
    // Those that begin alike are what was meant, if anything is.
    const like = known.filter((candidate) => candidate.startsWith(name.split(".")[0]!));
    const some = (like.length === 0 ? known : like).slice(0, 8);
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected taps to name modules of the UNet but received "${name}"; there are ${known.length} such as ${some.join(", ")}; tapNames() lists them`,
    );
  }
}

/**
 * Runs a forward from tap to tap.
 * @param taps at least one
 * @param grad whether the forward records a graph
 * @param throughout false: no further than the last tap, which leaves no output
 */
export async function followTaps(
  run: NativeUNetForward,
  taps: ReadonlyMap<string, Tap>,
  grad: boolean,
  throughout: boolean,
): Promise<void> {
  let left = taps.size;
  try {
    let stop = await run.next!(null);
    while (stop !== null) {
      const { name } = stop;
      const output = new Tensor(stop.output);
      const { shape, device } = output;
      const tap = taps.get(name)!;
      const replacement = await (grad ? tap(output) : noGrad(() => tap(output)));
      if (replacement !== undefined) checkReplacement(name, replacement, shape, device);
      if (--left === 0 && !throughout) return;
      stop = await run.next!(replacement?.native ?? null);
    }
  } finally {
    run.drop!();
  }
}

function checkReplacement(
  name: string,
  replacement: unknown,
  shape: readonly number[],
  device: string,
): asserts replacement is Tensor {
  const what = `what the tap on ${name} returns`;
  if (!(replacement instanceof Tensor)) throw invalid(what, "a Tensor or nothing", replacement);
  if (replacement.shape.join() !== shape.join())
    throw invalid(what, `of shape [${shape.join(", ")}]`, replacement.shape);
  if (replacement.device !== device) throw invalid(what, `on ${device}`, replacement.device);
}
