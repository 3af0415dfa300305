import { type CLIPModel, type CLIPTokenizer, Random, Tensor } from "../../lib/index";
import { captionOf } from "./captions";
import { crossEntropy } from "./classifier";
import { CONCEPTS } from "./concepts";
import { TEXT_TOWER, TOKENS } from "./families";
import { type Pictures, SIDE } from "./pictures";
import type { Stage } from "./training";

/** A batch holds a picture of each of as many different concepts, so that only one caption fits each picture. */
const BATCH = 32;

/** preprocessor_config.json: pictures as they are, in [-1, 1]. */
export const CLIP_PREPROCESSING = {
  image_processor_type: "CLIPImageProcessor",
  do_resize: false,
  do_center_crop: false,
  do_rescale: true,
  rescale_factor: 1 / 255,
  do_normalize: true,
  image_mean: [0.5, 0.5, 0.5],
  image_std: [0.5, 0.5, 0.5],
};

/** config.json, without the vocabulary. */
export function clipConfig(vocabulary: Record<string, number>): Record<string, unknown> {
  return {
    architectures: ["CLIPModel"],
    model_type: "clip",
    projection_dim: 64,
    logit_scale_init_value: Math.log(1 / 0.07),
    text_config: { ...TEXT_TOWER, ...vocabulary, projection_dim: 64 },
    vision_config: {
      hidden_size: 128,
      intermediate_size: 512,
      num_hidden_layers: 4,
      num_attention_heads: 4,
      num_channels: 3,
      image_size: SIDE,
      patch_size: 8,
      hidden_act: "quick_gelu",
      projection_dim: 64,
    },
  };
}

/** The symmetric contrastive loss of CLIP (arXiv 2103.00020, figure 3). */
export function clipStage(
  clip: CLIPModel,
  tokenizer: CLIPTokenizer,
  pictures: Pictures,
  options: { steps: number; seed: number; device: string },
): Stage {
  const { device, seed } = options;
  const byConcept = CONCEPTS.map((_, concept) =>
    pictures.list.flatMap((picture, index) => (picture.concept === concept ? [index] : [])),
  );
  return {
    name: "clip",
    steps: options.steps,
    parameters: new Map(clip.parameterNames().map((name) => [name, clip.parameter(name)])),
    learningRate: 5e-4,
    warmup: 100,
    average: 0.995,
    async loss(step) {
      const random = new Random(seed).at("clip", step);
      const left = CONCEPTS.map((_, concept) => concept);
      const chosen = Array.from({ length: BATCH }, (_, item) => {
        const [concept] = left.splice(random.at("concept", item).below(left.length), 1);
        const those = byConcept[concept!]!;
        return {
          picture: those[random.at("picture", item).below(those.length)]!,
          variant: random.at("variant", item).below(pictures.variants),
        };
      });
      const texts = chosen.map(({ picture }, item) =>
        captionOf(pictures.list[picture]!, random.at("text", item)),
      );
      const ids = Tensor.from(tokenizer.encode(texts).flat(), [BATCH, TOKENS], { dtype: "int64", device });
      const text = unit(await clip.textFeatures(ids, { grad: true }));
      const image = unit(await clip.imageFeatures(pictures.batch(chosen, device), { grad: true }));
      const logits = image.matmul(text.transpose(0, 1)).mul(clip.parameter("logit_scale").exp());
      const own = chosen.map((_, item) => item);
      return crossEntropy(logits, own)
        .add(crossEntropy(logits.transpose(0, 1), own))
        .div(2);
    },
  };
}

function unit(features: Tensor): Tensor {
  return features.div(features.square().sum(1, true).sqrt());
}
