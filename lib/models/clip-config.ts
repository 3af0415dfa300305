import { KpopError } from "../errors";
import { fixed, ignored, layerCount, names, positiveInteger, positiveNumber, readConfig, text } from "./config";

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
  /** The token at which a text's features are read; 2, in old files, means the highest id. */
  eos_token_id: number;
  /** Width of what CLIPTextModelWithProjection makes of a text; 0 where there is no projection. */
  projection_dim: number;
  /** What transformers loads it as; a projection is told by it. */
  architectures: readonly string[];
}

/** transformers' configuration of CLIP's vision tower; the defaults are transformers' own. */
export interface CLIPVisionConfig {
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_channels: number;
  /** Side of the pictures, in pixels. */
  image_size: number;
  patch_size: number;
  hidden_act: string;
  layer_norm_eps: number;
}

/** transformers' configuration of both towers; the defaults are transformers' own. */
export interface CLIPConfig {
  text_config: CLIPTextConfig;
  vision_config: CLIPVisionConfig;
  /** Width of the space that both towers project into. */
  projection_dim: number;
}

type Raw = Readonly<Record<string, unknown>>;

const textDefaults: Readonly<CLIPTextConfig> = Object.freeze({
  vocab_size: 49408,
  hidden_size: 512,
  intermediate_size: 2048,
  num_hidden_layers: 12,
  num_attention_heads: 8,
  max_position_embeddings: 77,
  hidden_act: "quick_gelu",
  layer_norm_eps: 1e-5,
  eos_token_id: 49407,
  projection_dim: 0,
  architectures: [],
});

const visionDefaults: Readonly<CLIPVisionConfig> = Object.freeze({
  hidden_size: 768,
  intermediate_size: 3072,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  num_channels: 3,
  image_size: 224,
  patch_size: 32,
  hidden_act: "quick_gelu",
  layer_norm_eps: 1e-5,
});

/** What transformers writes into every config.json: training and text generation, nothing of these forwards. */
const general = Object.fromEntries(
  "architectures add_cross_attention attention_dropout bad_words_ids begin_suppress_tokens bos_token_id chunk_size_feed_forward cross_attention_hidden_size decoder_start_token_id diversity_penalty do_sample dropout dtype early_stopping encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id gradient_checkpointing id2label initializer_factor initializer_range is_decoder is_encoder_decoder label2id length_penalty max_length min_length no_repeat_ngram_size num_beam_groups num_beams num_return_sequences output_attentions output_hidden_states output_scores pad_token_id prefix problem_type projection_dim pruned_heads remove_invalid_values repetition_penalty return_dict return_dict_in_generate sep_token_id suppress_tokens task_specific_params temperature tf_legacy_loss tie_encoder_decoder tie_word_embeddings tokenizer_class top_k top_p torch_dtype torchscript transformers_version typical_p use_bfloat16 use_cache"
    .split(" ")
    .map((name) => [name, ignored]),
);

const towerRules = {
  ...general,
  hidden_size: positiveInteger,
  intermediate_size: positiveInteger,
  num_hidden_layers: layerCount,
  num_attention_heads: positiveInteger,
  hidden_act: text("quick_gelu", "gelu"),
  layer_norm_eps: positiveNumber,
};

const textRules = {
  ...towerRules,
  model_type: fixed("clip_text_model"),
  vocab_size: positiveInteger,
  max_position_embeddings: positiveInteger,
  eos_token_id: positiveInteger,
  architectures: names,
};

const visionRules = {
  ...towerRules,
  model_type: fixed("clip_vision_model"),
  num_channels: positiveInteger,
  image_size: positiveInteger,
  patch_size: positiveInteger,
};

const modelRules = {
  ...general,
  model_type: fixed("clip"),
  projection_dim: positiveInteger,
  logit_scale_init_value: ignored,
  text_config: ignored,
  text_config_dict: ignored,
  vision_config: ignored,
  vision_config_dict: ignored,
};

/** @param what for messages, for example "text_encoder/config.json" @throws UNSUPPORTED_MODEL */
export function readCLIPTextConfig(what: string, raw: Raw): CLIPTextConfig {
  const { architectures } = raw;
  const projects = Array.isArray(architectures) && architectures.includes("CLIPTextModelWithProjection");
  // Files of encoders without a projection have a width of it as well, which means nothing.
  const rules = { ...textRules, projection_dim: projects ? positiveInteger : ignored };
  return readConfig(what, raw, projects ? { ...textDefaults, projection_dim: 512 } : textDefaults, rules);
}

/** @param what for messages @throws UNSUPPORTED_MODEL */
export function readCLIPConfig(what: string, raw: Raw): CLIPConfig {
  const { projection_dim } = readConfig(what, raw, { projection_dim: 512 }, modelRules);
  // Old files carry a tower's configuration twice; transformers lets the second place win.
  const tower = (name: string): [string, Raw] => {
    const place = [`${name}_dict`, name].find((key) => (raw[key] ?? null) !== null) ?? name;
    const value = raw[place] ?? {};
    if (typeof value !== "object" || Array.isArray(value))
      throw new KpopError("UNSUPPORTED_MODEL", `${what}: "${place}" should be an object`);
    return [`${what}, ${place}`, value as Raw];
  };
  return {
    projection_dim,
    text_config: readConfig(...tower("text_config"), textDefaults, textRules),
    vision_config: readConfig(...tower("vision_config"), visionDefaults, visionRules),
  };
}
