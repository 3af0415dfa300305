import type { UNet2DConditionModel } from "../models/unet";
import { LORA_PREFIXES } from "../io/file-kinds";
import * as safetensors from "../io/safetensors";
import { noGrad } from "../runtime/grad-mode";
import type { Random } from "../runtime/random";
import { scope, unscoped } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";
import { networkOf, type Denoiser } from "./predict";
import { loraModule } from "./save-lora";
import type { StableDiffusion } from "./stable-diffusion";

/** Every projection of cross-attention. */
const CROSS_ATTENTION = /attn2\.to_(?:[qkv]|out\.0)\.weight$/;

/** A change of low rank of one weight: W + up·down. */
interface Factors {
  /** (m, r) float32. */
  readonly up: Tensor;
  /** (r, n) float32. */
  readonly down: Tensor;
}

/** Changes of low rank of a UNet's weights (LoRA, arXiv 2106.09685), by key. */
export class Lora {
  private constructor(
    private readonly factors: ReadonlyMap<string, Factors>,
    readonly rank: number,
  ) {}

  /**
   * A change of all cross-attention's projections that is none yet: `up` is zero, and `down` normal draws of variance
   * 1 / (3n), that of PyTorch's linear layers.
   */
  static async start({ unet, device }: StableDiffusion, rank: number, random: Random): Promise<Lora> {
    const factors = new Map<string, Factors>();
    for (const [key, [rows, columns]] of projections(unet)) {
      const drawn = random.at(key).normal([rank, columns]).to({ device });
      const down = drawn.div(Math.sqrt(3 * columns));
      factors.set(key, { up: Tensor.zeros([rows, rank], { device }), down: await down.settled() });
    }
    return new Lora(factors, rank);
  }

  /** The largest rank that every projection of cross-attention has room for. */
  static largestRank(unet: UNet2DConditionModel): number {
    return Math.min(...[...projections(unet).values()].flat());
  }

  /** Its factors, by names of their own: what is trained. */
  tensors(): ReadonlyMap<string, Tensor> {
    return new Map(
      [...this.factors].flatMap(([key, { up, down }]): [string, Tensor][] => [
        [`${key}.up`, up],
        [`${key}.down`, down],
      ]),
    );
  }

  /** What predicts as the model does, with the changes in place and a graph to the factors. */
  on(model: StableDiffusion): Denoiser {
    return {
      ...networkOf(model),
      interventions: model.interventions,
      condition: (prompts, options) => model.condition(prompts, options),
      substitutes: () => this.weightsIn(model.unet),
    };
  }

  /** What takes the place of a network's parameters, by key, in their dtype; with a graph to the factors. */
  private weightsIn(unet: UNet2DConditionModel): ReadonlyMap<string, Tensor> {
    return new Map(
      [...this.factors].map(([key, { up, down }]) => {
        const weight = unet.parameter(key);
        return [key, weight.to("float32").add(up.matmul(down)).to(weight.dtype)];
      }),
    );
  }

  /** A model with the change in its weights. It shares all others with the one given, which stays as it is. */
  async applyTo(model: StableDiffusion): Promise<StableDiffusion> {
    const edited = await model.derive(new Set(this.factors.keys()));
    await noGrad(() =>
      scope(async () => {
        for (const [key, weight] of this.weightsIn(model.unet))
          await edited.unet.parameter(key).copyFrom(weight);
      }),
    );
    return edited;
  }

  /** The change as it is now, on the CPU, for the caller to dispose of. */
  async copy(): Promise<Lora> {
    const held = (tensor: Tensor): Tensor => scope(() => tensor.detach().to({ device: "cpu" }).clone());
    const copied = unscoped(
      () =>
        new Map([...this.factors].map(([key, { up, down }]) => [key, { up: held(up), down: held(down) }])),
    );
    const copy = new Lora(copied, this.rank);
    for (const tensor of copy.tensors().values()) await tensor.settled();
    return copy;
  }

  /**
   * Writes it in float32 under kohya's keys, as `applyLora` and other tools read them. Replaces the file whole.
   * @throws NO_SPACE, NOT_FOUND, IO_ERROR
   */
  async save(path: string): Promise<void> {
    const { rank } = this;
    await scope(() => {
      const alpha = Tensor.from(Float32Array.of(rank), []);
      const tensors = [...this.factors].flatMap(([key, { up, down }]): [string, Tensor][] => {
        const module = loraModule(LORA_PREFIXES.one.unet!, key);
        return [
          [`${module}.lora_up.weight`, up],
          [`${module}.lora_down.weight`, down],
          [`${module}.alpha`, alpha],
        ];
      });
      const metadata = { format: "pt", ss_network_module: "networks.lora", ss_network_dim: String(rank), ss_network_alpha: String(rank) }; // prettier-ignore
      return safetensors.save(path, Object.fromEntries(tensors), metadata);
    });
  }

  /** Idempotent. */
  dispose(): void {
    for (const { up, down } of this.factors.values()) for (const tensor of [up, down]) tensor.dispose();
  }
}

function projections(unet: UNet2DConditionModel): Map<string, [rows: number, columns: number]> {
  const shapes = Object.entries(unet.parameterShapes());
  return new Map(
    shapes
      .filter(([key]) => CROSS_ATTENTION.test(key))
      .map(([key, shape]) => [key, shape as [number, number]]),
  );
}
