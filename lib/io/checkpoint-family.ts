import { KpopError } from "../errors";
import type { CheckpointSource, Config } from "./checkpoint-types";

/** Pipelines of diffusers whose networks are those of a family that is known here. */
const PIPELINES: Readonly<Record<string, "sd" | "xl">> = {
  StableDiffusionPipeline: "sd",
  StableDiffusionImg2ImgPipeline: "sd",
  StableDiffusionInpaintPipeline: "sd",
  StableDiffusionXLPipeline: "xl",
  StableDiffusionXLImg2ImgPipeline: "xl",
  StableDiffusionXLInpaintPipeline: "xl",
};

/** What to give in the place of a model of another architecture. */
export const EXPECTED = "erasing works on the UNets of Stable Diffusion 1, 2 and XL: give a model of these";
const TRANSFORMER = `whose network is a diffusion transformer; ${EXPECTED}`;

/** Pipelines that are asked for by name, and why they are none. */
const OTHERS: readonly (readonly [RegExp, string])[] = [
  [/^StableDiffusion3/, `Stable Diffusion 3, ${TRANSFORMER}`],
  [/^Flux/, `FLUX, ${TRANSFORMER}`],
  [/InstructPix2Pix/, pictureToPicture("an InstructPix2Pix")],
];

/** Why Stable Diffusion XL's refiner is no model to erase from. */
export const REFINER =
  "Stable Diffusion XL's refiner, which only finishes what the base model has drawn; give the base model (stable-diffusion-xl-base-1.0)";

function pictureToPicture(what: string): string {
  return `${what} checkpoint, which draws from a picture and not from a text alone; give the text-to-image model that it was trained from`;
}

/**
 * Which family a pipeline is of.
 * @param path of the folder, for messages
 * @throws UNSUPPORTED_MODEL
 */
export function checkPipeline(path: string, modelIndex: Config): "sd" | "xl" {
  const name = modelIndex["_class_name"];
  const family = typeof name === "string" && Object.hasOwn(PIPELINES, name) ? PIPELINES[name] : undefined;
  if (family === undefined) {
    const other = OTHERS.find(([pattern]) => typeof name === "string" && pattern.test(name));
    if (other !== undefined) throw unsupported(path, other[1]);
    const found = typeof name === "string" ? `a ${name}` : "a pipeline whose model_index.json names no class";
    const known = "StableDiffusionPipeline, StableDiffusionXLPipeline";
    throw unsupported(path, `${found}; expected a pipeline of Stable Diffusion 1, 2 or XL (${known})`);
  }
  const encoder = modelIndex["text_encoder"];
  const lacks = encoder === undefined || (Array.isArray(encoder) && encoder[0] === null);
  if (family === "xl" && (lacks || modelIndex["requires_aesthetics_score"] === true))
    throw unsupported(path, REFINER);
  return family;
}

/**
 * Refuses networks that are no text-to-image model together.
 * @throws UNSUPPORTED_MODEL on inpainting and the like; INVALID_CHECKPOINT where networks are of several families
 */
export function checkFamily(
  path: string,
  {
    unet,
    vae,
    textEncoder,
    textEncoder2,
  }: Pick<CheckpointSource, "unet" | "vae" | "textEncoder" | "textEncoder2">,
): void {
  const size = (config: Config, field: string): number | undefined => {
    const value = config[field];
    return typeof value === "number" ? value : undefined;
  };
  const [taken, latents] = [size(unet.config, "in_channels") ?? 4, size(vae.config, "latent_channels") ?? 4];
  if (taken === 2 * latents + 1) throw unsupported(path, pictureToPicture("an inpainting"));
  if (taken === 2 * latents) throw unsupported(path, pictureToPicture("an InstructPix2Pix"));
  if (taken > latents)
    throw unsupported(
      path,
      `a checkpoint whose UNet takes ${taken} channels, and not the ${latents} of latents alone, as models that draw from depth or a small picture do; give a text-to-image model`,
    );
  const mixed = (why: string): KpopError =>
    new KpopError(
      "INVALID_CHECKPOINT",
      `${path} has networks of several families: ${why}; put those of one model together`,
    );
  if (taken < latents)
    throw mixed(
      `the UNet reads latents of ${taken} channels, and the autoencoder's have ${latents}, as those of diffusion transformers`,
    );
  const predicted = size(unet.config, "out_channels") ?? 4;
  if (predicted !== taken)
    throw unsupported(
      path,
      `a checkpoint whose UNet predicts ${predicted} channels of latents that have ${taken}; give a text-to-image model`,
    );
  for (const field of ["in_channels", "out_channels"]) {
    const channels = size(vae.config, field) ?? 3;
    if (channels !== 3)
      throw unsupported(
        path,
        `a checkpoint of pictures with ${channels} channels (${field} of its autoencoder); give one of pictures in red, green and blue`,
      );
  }
  const sides = unet.config["sample_size"];
  if (Array.isArray(sides) && sides[0] !== sides[1])
    throw unsupported(
      path,
      `a checkpoint whose own pictures are not square (sample_size ${JSON.stringify(sides)} of its UNet); give sample_size one number, and a width and height where you draw`,
    );
  const isXl = unet.config["addition_embed_type"] === "text_time";
  if (isXl !== (textEncoder2 !== undefined))
    throw mixed(
      isXl
        ? "the UNet is Stable Diffusion XL's, and model_index.json is not that of a StableDiffusionXLPipeline, whose second text encoder it needs"
        : "there are two text encoders, Stable Diffusion XL's, and the UNet is not XL's (addition_embed_type text_time)",
    );
  const widths = [textEncoder, ...(textEncoder2 === undefined ? [] : [textEncoder2])].map(({ config }) =>
    size(config, "hidden_size"),
  );
  const given = widths.reduce(
    (sum, own) => (sum === undefined || own === undefined ? undefined : sum + own),
    0,
  );
  const read = [
    ["token states", size(unet.config, "cross_attention_dim"), given],
    ["pooled texts", pooledWidth(unet.config), textEncoder2 && size(textEncoder2.config, "projection_dim")],
  ] as const;
  for (const [what, wanted, found] of read)
    if (wanted !== undefined && found !== undefined && wanted !== found)
      throw mixed(`the UNet reads ${what} of ${wanted} numbers, and the text encoders give ${found}`);
}

/** Numbers that Stable Diffusion XL is told of a picture's size and crop. */
const SIZES = 6;

/** Width of the pooled texts that a UNet takes; undefined where its config does not say. */
function pooledWidth(config: Config): number | undefined {
  const [all, each] = ["projection_class_embeddings_input_dim", "addition_time_embed_dim"].map(
    (field) => config[field],
  );
  return typeof all === "number" && typeof each === "number" ? all - SIZES * each : undefined;
}

function unsupported(path: string, what: string): KpopError {
  return new KpopError("UNSUPPORTED_MODEL", `${path} is ${what}`);
}
