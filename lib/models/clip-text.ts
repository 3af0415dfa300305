import { integer, knownKeys } from "../check";
import { addon } from "../runtime/binding";
import { checkTensor, Tensor } from "../runtime/tensor";
import { readCLIPTextConfig, type CLIPTextConfig } from "./clip-config";
import { Module } from "./module";
import { checkTokenIds } from "./token-ids";

/** What a forward of the text tower takes beside the ids. */
export interface CLIPTextForwardOptions {
  /** (B, L, hidden_size), in place of the ids' own embeddings; their dtype is then the compute dtype. */
  embeddings?: Tensor;
  /** Whether to record a graph, to the weights and embeddings that ask for gradients. Default false. */
  grad?: boolean;
}

/** CLIP's text tower, or OpenCLIP's: a causal transformer (arXiv 2103.00020). */
export class CLIPTextModel extends Module<CLIPTextConfig> {
  /** A network without weights. @param raw transformers' config.json @throws UNSUPPORTED_MODEL */
  constructor(raw: Readonly<Record<string, unknown>>, what = "text_encoder/config.json") {
    super("clip-text", readCLIPTextConfig(what, raw), what);
  }

  /**
   * @param inputIds (B, L) int64, L at most max_position_embeddings
   * @returns the last hidden state after the final layer norm, (B, L, hidden_size)
   * @throws INVALID_ARGUMENT when a shape or an id does not fit
   */
  async forward(inputIds: Tensor, options: CLIPTextForwardOptions = {}): Promise<Tensor> {
    knownKeys("the forward options", options, ["embeddings", "grad"]);
    const { embeddings, grad = false } = options;
    checkTensor("inputIds", inputIds);
    if (embeddings === undefined) await checkTokenIds(inputIds, this.config.vocab_size);
    return new Tensor(await addon().clipTextForward(this.native, inputIds.native, grad, embeddings?.native));
  }

  /**
   * What Stable Diffusion XL reads of a text.
   * @param inputIds (B, L) int64; where embeddings are given in their place and the encoder has a projection, they still say
   *   where each text ends
   * @param options.skip how many layers at the end the states are taken before. Default 1: the last but one's
   * @returns states (B, L, hidden_size), without the final layer norm, and the projected last state at each text's end,
   *   (B, projection_dim), or null where there is no projection
   * @throws INVALID_ARGUMENT when a shape or an id does not fit, or a text has no end
   */
  async hiddenStates(
    inputIds: Tensor,
    options: CLIPTextForwardOptions & { skip?: number } = {},
  ): Promise<{ states: Tensor; pooled: Tensor | null }> {
    knownKeys("the options of hidden states", options, ["embeddings", "grad", "skip"]);
    const { embeddings, grad = false, skip = 1 } = options;
    integer("skip", skip, 1, this.config.num_hidden_layers);
    await checkTokenIds(inputIds, this.config.vocab_size);
    const [states, pooled] = await addon().clipTextHiddenStates(
      ...([this.native, inputIds.native, grad, embeddings?.native, skip] as const),
    );
    return { states: new Tensor(states), pooled: pooled === null ? null : new Tensor(pooled) };
  }

  /**
   * The token embeddings alone, without positions: to be changed and passed to `forward`, as textual inversion does
   * (arXiv 2208.01618).
   * @param inputIds (B, L) int64
   * @param options.grad whether to record a graph to the embedding table. Default false
   * @returns (B, L, hidden_size)
   * @throws INVALID_ARGUMENT when the shape or an id does not fit
   */
  async embedTokens(inputIds: Tensor, options: { grad?: boolean } = {}): Promise<Tensor> {
    await checkTokenIds(inputIds, this.config.vocab_size);
    return new Tensor(await addon().clipTextEmbed(this.native, inputIds.native, options.grad ?? false));
  }

  /** A network that shares every weight with this one, but for copies of `own`. */
  async share(own: ReadonlySet<string> = new Set(), ownDtype?: "float32"): Promise<CLIPTextModel> {
    const copy = new CLIPTextModel({ ...this.config });
    await this.shareInto(copy, own, ownDtype);
    return copy;
  }
}
