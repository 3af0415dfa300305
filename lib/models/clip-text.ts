import { addon } from "../runtime/binding";
import { Tensor } from "../runtime/tensor";
import { fixed, ignored, number, positiveInteger, readConfig, text } from "./config";
import { Module } from "./module";

/** transformers' configuration of CLIP's text tower; the defaults are transformers' own. */
export interface CLIPTextConfig {
  vocab_size: number;
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  max_position_embeddings: number;
  hidden_act: string;
  layer_norm_eps: number;
}

const defaults: Readonly<CLIPTextConfig> = Object.freeze({
  vocab_size: 49408,
  hidden_size: 512,
  intermediate_size: 2048,
  num_hidden_layers: 12,
  num_attention_heads: 8,
  max_position_embeddings: 77,
  hidden_act: "quick_gelu",
  layer_norm_eps: 1e-5,
});

/** What transformers writes into every config.json: training and text generation, nothing of this forward. */
const general =
  "architectures add_cross_attention attention_dropout bad_words_ids begin_suppress_tokens bos_token_id chunk_size_feed_forward cross_attention_hidden_size decoder_start_token_id diversity_penalty do_sample dropout dtype early_stopping encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id gradient_checkpointing id2label initializer_factor initializer_range is_decoder is_encoder_decoder label2id length_penalty max_length min_length no_repeat_ngram_size num_beam_groups num_beams num_return_sequences output_attentions output_hidden_states output_scores pad_token_id prefix problem_type projection_dim pruned_heads remove_invalid_values repetition_penalty return_dict return_dict_in_generate sep_token_id suppress_tokens task_specific_params temperature tf_legacy_loss tie_encoder_decoder tie_word_embeddings tokenizer_class top_k top_p torch_dtype torchscript transformers_version typical_p use_bfloat16 use_cache".split(
    " ",
  );

const rules = {
  ...Object.fromEntries(general.map((name) => [name, ignored])),
  model_type: fixed("clip_text_model"),
  vocab_size: positiveInteger,
  hidden_size: positiveInteger,
  intermediate_size: positiveInteger,
  num_hidden_layers: positiveInteger,
  num_attention_heads: positiveInteger,
  max_position_embeddings: positiveInteger,
  hidden_act: text("quick_gelu", "gelu"),
  layer_norm_eps: number,
};

/** CLIP's text tower: a causal transformer (arXiv 2103.00020). */
export class CLIPTextModel extends Module<CLIPTextConfig> {
  /** A network without weights. @param raw transformers' config.json @throws UNSUPPORTED_MODEL */
  constructor(raw: Readonly<Record<string, unknown>>, what = "text_encoder/config.json") {
    super("clip-text", readConfig(what, raw, defaults, rules), what);
  }

  /**
   * @param inputIds (B, L) int64, L at most max_position_embeddings
   * @returns the last hidden state after the final layer norm, (B, L, hidden_size)
   */
  async forward(inputIds: Tensor, options: { grad?: boolean } = {}): Promise<Tensor> {
    return new Tensor(await addon().clipTextForward(this.native, inputIds.native, options.grad ?? false));
  }

  /** A network that shares every weight with this one. */
  async share(): Promise<CLIPTextModel> {
    const copy = new CLIPTextModel({ ...this.config });
    await this.shareInto(copy, new Set());
    return copy;
  }
}
