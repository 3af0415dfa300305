import { KpopError } from "../../errors";
import type { UNet2DConditionModel, UNetConfig } from "../../models/unet";
import { integer, texts } from "../../options/kinds";
import { complete } from "../../options/option";
import { gradEnabled } from "../../runtime/grad-mode";
import { Tensor } from "../../runtime/tensor";
import { checkShapes, checkVersion, type Intervention, type StoredIntervention } from "./intervention";

const VERSION = 1;
const COPIED = /^(?:conv_in|time_embedding|add_embedding|down_blocks|mid_block)\./;
const COPY = "encoder.";

/** What DuMo's eraser is for. */
export interface DumoSettings {
  /** What it erases. */
  readonly concepts: readonly string[];
  /** T, the timesteps of the schedule. */
  readonly timesteps: number;
}

const SETTINGS = Object.freeze({
  concepts: texts([], "what is erased"),
  timesteps: integer(undefined, "timesteps of the schedule", { from: 1 }),
});

/**
 * DuMo's eraser (Han et al., arXiv 2501.01125): a copy of the UNet's encoder and middle block sees the same z_t, t and text
 * as the UNet, whose decoder goes on with
 *   h_i + S[⌊R t / T⌋, i] (W_i e_i + b_i)
 * in place of each skip connection h_i and of the middle block's output; e_i is what the copy has there, W_i a convolution
 * of 1×1, and S the coefficients of R equal parts of the schedule and of layers. It works in both halves of guidance.
 * @param tensors of the copy by the UNet's keys behind "encoder.", "outputs.I.weight" (C, C), "outputs.I.bias" (C), and
 *   "scales", (R, n), or (R, 1) where all layers have the same
 */
export function dumoEraser(settings: DumoSettings, tensors: ReadonlyMap<string, Tensor>): Intervention {
  const copy = new Map(
    [...tensors]
      .filter(([name]) => name.startsWith(COPY))
      .map(([name, tensor]) => [name.slice(COPY.length), tensor]),
  );
  const intervention: Intervention = {
    name: "dumo",
    version: VERSION,
    settings: { ...settings },
    tensors,
    share: () => dumoEraser(settings, new Map([...tensors].map(([name, tensor]) => [name, tensor.detach()]))),
    prompts: [],
    async taps({ unet, latents, timesteps, context, added }) {
      const sites = sitesOf(unet);
      const copied = { parameters: copy, grad: gradEnabled(), added };
      const seen = await unet.activations(latents, timesteps, context, sites, copied); // e_i, (B, C, h, w)
      const table = tensors.get("scales")!;
      const [parts, layers] = table.shape as [number, number];
      const scales = table.rows(timesteps.map((t) => Math.floor((t * parts) / settings.timesteps))); // (B, n)
      return Object.fromEntries(
        sites.map((site, i) => {
          const [weight, bias] = ["weight", "bias"].map((part) => tensors.get(`outputs.${i}.${part}`)!);
          const residual = (): Tensor => {
            const e = seen.get(site)!;
            const [items, channels] = e.shape as [number, number];
            const mixed = weight!.to(e.dtype).matmul(e.reshape([items, channels, -1]));
            const layer = layers === 1 ? 0 : i;
            const scale = scales.slice(1, layer, layer + 1).unsqueeze(-1); // (B, 1, 1)
            return mixed.add(bias!.to(e.dtype).unsqueeze(-1)).mul(scale.to(e.dtype)).reshape(e.shape);
          };
          return [site, (output: Tensor) => output.add(residual())];
        }),
      );
    },
  };
  return Object.freeze(intervention);
}

/**
 * The tensors of an eraser that does nothing yet: the UNet's own encoder, float32, outputs of 0, coefficients of 1.
 * @param table how many parts of the schedule have coefficients of their own, and whether layers have
 * @returns copies, for the caller to free
 */
export async function newEraser(
  { unet, device }: { readonly unet: UNet2DConditionModel; readonly device: string },
  table: { parts: number; byLayer: boolean },
): Promise<Map<string, Tensor>> {
  const found = new Map<string, Tensor>();
  const scales = [table.parts, table.byLayer ? sitesOf(unet).length : 1];
  for (const [name, shape] of Object.entries(eraserShapes(unet, scales))) {
    const tensor = name.startsWith(COPY)
      ? unet.parameter(name.slice(COPY.length)).detach().to("float32").clone()
      : Tensor.zeros(shape, { device }).add(name === "scales" ? 1 : 0);
    found.set(name, await tensor.settled());
  }
  return found;
}

/** Numbers of an eraser, all of which are learned. */
export function eraserElements(unet: UNet2DConditionModel): number {
  const sizes = Object.values(eraserShapes(unet, [])).map((shape) => shape.reduce((a, b) => a * b, 1));
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** The intervention of a saved file. @throws UNSUPPORTED_FORMAT; INVALID_ARGUMENT where it does not fit the UNet */
export function readDumo(stored: StoredIntervention, unet: UNet2DConditionModel): Intervention {
  checkVersion("dumo", stored.version, VERSION);
  const given = complete(SETTINGS, stored.settings, { concepts: [] }, "settings.");
  const { timesteps } = given;
  if (timesteps === undefined)
    throw new KpopError("INVALID_CHECKPOINT", 'The intervention "dumo" lacks its timesteps');
  const [parts = 0, layers = 0] = stored.tensors.get("scales")?.shape ?? [];
  const scales = [Math.min(Math.max(parts, 1), timesteps), layers === 1 ? 1 : sitesOf(unet).length];
  checkShapes(stored.tensors, eraserShapes(unet, scales));
  return dumoEraser({ ...given, timesteps }, stored.tensors);
}

/** What is added to: the skip connections, then the middle block's output. */
function sitesOf(unet: UNet2DConditionModel): string[] {
  const named = (pattern: RegExp): string[] => unet.tapNames().filter((name) => pattern.test(name));
  return [...named(/^skips\.\d+$/), ...named(/^mid_block\.resnets\.\d+$/).slice(-1)];
}

function eraserShapes(unet: UNet2DConditionModel, scales: number[]): Record<string, number[]> {
  const copied = Object.entries(unet.parameterShapes()).filter(([name]) => COPIED.test(name));
  const channels = channelsOf(unet.config);
  return {
    ...Object.fromEntries(copied.map(([name, shape]) => [`${COPY}${name}`, shape])),
    ...Object.fromEntries(
      channels.flatMap((width, i) => [
        [`outputs.${i}.weight`, [width, width]],
        [`outputs.${i}.bias`, [width]],
      ]),
    ),
    scales,
  };
}

/** Of each site: what goes in, each level's layers with what halves their sides, and the middle block. */
function channelsOf({ block_out_channels: widths, layers_per_block: layers }: UNetConfig): number[] {
  const last = widths.length - 1;
  const levels = widths.flatMap((width, level) => {
    const count = layers[layers.length === 1 ? 0 : level]! + (level < last ? 1 : 0);
    return Array<number>(count).fill(width);
  });
  return [widths[0]!, ...levels, widths[last]!];
}
