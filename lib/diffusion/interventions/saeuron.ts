import { invalid } from "../../check";
import { KpopError } from "../../errors";
import type { UNet2DConditionModel } from "../../models/unet";
import { above, decode, encode, type AutoencoderWeights } from "../../nn/sparse-autoencoder";
import { choice, integer, text, texts } from "../../options/kinds";
import { complete } from "../../options/option";
import { scope } from "../../runtime/scope";
import type { Tensor } from "../../runtime/tensor";
import { checkShapes, checkVersion, type Intervention, type StoredIntervention } from "./intervention";

const VERSION = 1;

/** What SAeUron's editing is like. */
export interface SaeuronSettings {
  /** What is edited away. */
  readonly concepts: readonly string[];
  /** The transformer of the UNet whose output is edited. */
  readonly site: string;
  /** k: latents that are active at each place. */
  readonly active: number;
  /** The timesteps that features were chosen at, one for each row of the tables; others go by the nearest. */
  readonly timesteps: readonly number[];
  /** What becomes of what the autoencoder leaves out of an output. */
  readonly remainder: Remainder;
}

/** "kept": x + (z' − z) W_dec. "inverted", as in the published code: that with x̂ − x in place of x − x̂. */
export type Remainder = (typeof REMAINDERS)[number];
export const REMAINDERS = ["kept", "inverted"] as const;

/** What it computes with, by name. */
export interface SaeuronTensors extends AutoencoderWeights {
  /** (S, m): what a latent is multiplied by, less 1; 0 where it is not chosen. */
  readonly change: Tensor;
  /** (S, m): a chosen latent is changed where it is above this. */
  readonly threshold: Tensor;
}

const SETTINGS = Object.freeze({
  concepts: texts([], "what is edited away"),
  site: text("", "the transformer whose output is edited"),
  active: integer(1, "latents that are active at each place", { from: 1 }),
  remainder: choice("kept", REMAINDERS, "what becomes of what the autoencoder leaves out"),
});

/**
 * SAeUron's editing (Cywiński and Deja, arXiv 2501.18052) of a transformer's output x, each place by itself, in both
 * halves of guidance: z = TopK(ReLU(W_e (x − b_dec) + b_e)); z'_i = (1 + change_i) z_i where z_i is above its threshold at
 * this timestep, else z_i; and x + (z' − z) W_dec goes on in place of x.
 */
export function saeuronEditing(settings: SaeuronSettings, tensors: SaeuronTensors): Intervention {
  const held = new Map(Object.entries(tensors) as [string, Tensor][]);
  const intervention: Intervention = {
    name: "saeuron",
    version: VERSION,
    settings: { ...settings },
    tensors: held,
    share: () => saeuronEditing(settings, detached(held)),
    prompts: [],
    taps: ({ timesteps }) => {
      const steps = timesteps.map((t) => nearest(settings.timesteps, t));
      return { [settings.site]: (output) => edited(output, steps, settings, tensors) };
    },
  };
  return Object.freeze(intervention);
}

function detached(tensors: ReadonlyMap<string, Tensor>): SaeuronTensors {
  const found = [...tensors].map(([name, tensor]) => [name, tensor.detach()]);
  return Object.fromEntries(found) as SaeuronTensors;
}

/** @param output (B, C, h, w) @param steps row of the tables for each item */
function edited(
  output: Tensor,
  steps: readonly number[],
  { active, remainder }: SaeuronSettings,
  tensors: SaeuronTensors,
): Tensor {
  return scope(() => {
    const [items, channels, height, width] = output.shape as [number, number, number, number];
    const places = [items, height * width, -1];
    const rows = output.permute([0, 2, 3, 1]).reshape([-1, channels]).to("float32"); // x, (B h w, C)
    const z = encode(tensors, rows, active); // (B h w, m)
    const each = z.reshape(places); // (B, h w, m)
    const [change, threshold] = [tensors.change, tensors.threshold].map((table) => table.rows(steps).unsqueeze(1)) as [Tensor, Tensor]; // prettier-ignore
    const moved = each.mul(change).mul(above(each.detach(), threshold)).reshape(z.shape); // z' − z
    const rest = remainder === "kept" ? rows : decode(tensors, z).mul(2).sub(rows);
    const result = rest.add(moved.matmul(tensors.W_dec)).reshape([items, height, width, channels]);
    return result.permute([0, 3, 1, 2]).to(output.dtype);
  });
}

/** The place of the number nearest to `value`, the first of equals. */
function nearest(numbers: readonly number[], value: number): number {
  const distances = numbers.map((number) => Math.abs(number - value));
  return distances.indexOf(Math.min(...distances));
}

/** How many channels the output of a transformer of a UNet has. @throws INVALID_ARGUMENT where it has none of that name */
export function siteWidth(unet: UNet2DConditionModel, site: string): number {
  const sites = unet.tapNames().filter((name) => /\.attentions\.\d+$/.test(name));
  if (sites.includes(site)) return unet.parameterShapes()[`${site}.norm.weight`]![0]!;
  throw new KpopError(
    "INVALID_ARGUMENT",
    `Expected site to be one of the UNet's ${sites.length} transformers but received "${site}"; they are ${sites.join(", ")}`,
  );
}

/**
 * The intervention of a saved file.
 * @throws UNSUPPORTED_FORMAT; INVALID_ARGUMENT where settings and tensors do not fit each other or the UNet
 */
export function readSaeuron(
  { version, settings: { timesteps, ...rest }, tensors }: StoredIntervention,
  unet: UNet2DConditionModel,
): Intervention {
  checkVersion("saeuron", version, VERSION);
  const given = complete(SETTINGS, rest, { concepts: [] }, "settings.");
  if (!Array.isArray(timesteps) || timesteps.length === 0 || !timesteps.every(Number.isFinite))
    throw invalid("settings.timesteps", "a list of numbers", timesteps);
  const settings: SaeuronSettings = { ...given, timesteps: timesteps as number[] };
  const width = siteWidth(unet, settings.site);
  const latents = tensors.get("encoder.weight")?.shape[0] ?? 0;
  if (latents < settings.active)
    throw invalid("settings.active", `at most ${latents}, the latents that there are,`, settings.active);
  const table = [timesteps.length, latents];
  const shapes: Record<keyof SaeuronTensors, number[]> = {
    ...autoencoderShapes(latents, width),
    change: table,
    threshold: table,
  };
  checkShapes(tensors, shapes);
  return saeuronEditing(settings, Object.fromEntries(tensors) as unknown as SaeuronTensors);
}

/** Shapes of an autoencoder's tensors. */
export function autoencoderShapes(
  latents: number,
  width: number,
): Record<keyof AutoencoderWeights, number[]> {
  return {
    "encoder.weight": [latents, width],
    "encoder.bias": [latents],
    W_dec: [latents, width],
    b_dec: [width],
  };
}
