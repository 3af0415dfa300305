import type { UNet2DConditionModel } from "../models/unet";
import { LORA_PREFIXES } from "../io/file-kinds";
import * as safetensors from "../io/safetensors";
import { noGrad } from "../runtime/grad-mode";
import type { Random } from "../runtime/random";
import { scope, unscoped } from "../runtime/scope";
import { Tensor } from "../runtime/tensor";
import type { UpdateFilter } from "../training/player";
import { kohyaMetadata, loraModule } from "./save-lora";
import type { StableDiffusion } from "./stable-diffusion";

/** Every projection of cross-attention. */
const CROSS_ATTENTION = /attn2\.to_(?:[qkv]|out\.0)\.weight$/;

/** A change of low rank of one weight: W + up·down, a convolution taken as a matrix. */
interface Factors {
  /** (m, r) float32. */
  readonly up: Tensor;
  /** (r, n) float32. */
  readonly down: Tensor;
  /** What `down` began with. */
  readonly start: Tensor;
  /** Of the weight. */
  readonly shape: readonly number[];
}

/** Changes of low rank of a UNet's weights (LoRA, arXiv 2106.09685), by key. */
export class Lora {
  private constructor(
    private readonly factors: ReadonlyMap<string, Factors>,
    readonly rank: number,
  ) {}

  /**
   * A change that is none yet: `up` is zero, and `down` normal draws of variance 1 / (3n), that of PyTorch's linear layers.
   * @param keys of matrices and convolutions. Default all cross-attention's projections
   */
  static async start(
    { unet, device }: Pick<StableDiffusion, "unet" | "device">,
    rank: number,
    random: Random,
    keys: readonly string[] = projections(unet),
  ): Promise<Lora> {
    const shapes = unet.parameterShapes();
    const factors = new Map<string, Factors>();
    for (const key of keys) {
      const shape = shapes[key]!;
      const [rows, columns] = sides(shape);
      const drawn = (): Tensor => random.at(key).normal([rank, columns]).to({ device });
      const start = await scope(() =>
        drawn()
          .div(Math.sqrt(3 * columns))
          .settled(),
      );
      factors.set(key, { up: Tensor.zeros([rows, rank], { device }), down: start.clone(), start, shape });
    }
    return new Lora(factors, rank);
  }

  /** The largest rank that every projection of cross-attention has room for. */
  static largestRank(unet: UNet2DConditionModel): number {
    const shapes = unet.parameterShapes();
    return Math.min(...projections(unet).flatMap((key) => sides(shapes[key]!)));
  }

  /** The least rank that has room for any change of any of a network's weights. */
  static fullRank(unet: UNet2DConditionModel): number {
    const matrices = Object.values(unet.parameterShapes()).filter((shape) => shape.length > 1);
    return Math.max(...matrices.map((shape) => Math.min(...sides(shape))));
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

  /** Puts the factors back to where they began, at no change. */
  async reset(): Promise<void> {
    for (const { up, down, start } of this.factors.values()) {
      await scope(() => up.copyFrom(Tensor.zeros(up.shape, up)));
      await down.copyFrom(start);
    }
  }

  /**
   * Lets what `down` begins with go through a map M, down ← down M, where it applies to the weight.
   * @internal
   */
  async startThrough({ matrix, applies }: UpdateFilter): Promise<void> {
    for (const [key, { down, start }] of this.factors) {
      if (!applies(key)) continue;
      await noGrad(() => scope(() => start.copyFrom(start.matmul(matrix))));
      await down.copyFrom(start);
    }
  }

  /**
   * What predicts as the model does, with the changes in place and a graph to the factors.
   * @param before the network whose weights are changed. Default the model's own, in its dtype
   */
  on(model: StableDiffusion, before?: UNet2DConditionModel): StableDiffusion {
    return model.withSubstitutes(() => this.weightsIn(before ?? model.unet, before && "float32"));
  }

  /** What takes the place of a network's parameters, by key, in their dtype or another; with a graph to the factors. */
  weightsIn(unet: UNet2DConditionModel, dtype?: "float32"): ReadonlyMap<string, Tensor> {
    return new Map(
      [...this.factors].map(([key, { up, down, shape }]) => {
        const weight = unet.parameter(key);
        const change = up.matmul(down).reshape(shape);
        return [
          key,
          weight
            .to("float32")
            .add(change)
            .to(dtype ?? weight.dtype),
        ];
      }),
    );
  }

  /** Sets a network's weights to another's with the change in them. */
  async write(unet: UNet2DConditionModel, before: UNet2DConditionModel): Promise<void> {
    await noGrad(() =>
      scope(async () => {
        for (const [key, weight] of this.weightsIn(before, "float32"))
          await unet.parameter(key).copyFrom(weight);
      }),
    );
  }

  /** A model with the change in its weights. It shares all others with the one given, which stays as it is. */
  async applyTo(model: StableDiffusion): Promise<StableDiffusion> {
    const edited = await model.derive(new Set(this.factors.keys()));
    await this.write(edited.unet, model.unet);
    return edited;
  }

  /** The change as it is now, for the caller to dispose of. @param device default the CPU */
  async copy(device = "cpu"): Promise<Lora> {
    const held = (tensor: Tensor): Tensor => scope(() => tensor.detach().to({ device }).clone());
    const copied = unscoped(
      () =>
        new Map(
          [...this.factors].map(([key, { up, down, start, shape }]) => [
            key,
            { up: held(up), down: held(down), start: held(start), shape },
          ]),
        ),
    );
    const copy = new Lora(copied, this.rank);
    for (const tensor of copy.tensors().values()) await tensor.settled();
    return copy;
  }

  /**
   * Writes it in float32 under kohya's keys, as `applyLora` and other tools read them. Replaces the file whole.
   * @param metadata beside what those tools read. Default none
   * @throws NO_SPACE, NOT_FOUND, IO_ERROR
   */
  async save(path: string, metadata: Readonly<Record<string, string>> = {}): Promise<void> {
    await scope(() => {
      const alpha = Tensor.from(Float32Array.of(this.rank), []);
      const tensors = [...this.factors].flatMap(([key, { up, down, shape }]): [string, Tensor][] => {
        const module = loraModule(LORA_PREFIXES.one.unet!, key);
        const [, ...rest] = shape;
        return [
          [`${module}.lora_up.weight`, up.detach().reshape([...up.shape, ...rest.slice(1).map(() => 1)])],
          [`${module}.lora_down.weight`, down.detach().reshape([this.rank, ...rest])],
          [`${module}.alpha`, alpha],
        ];
      });
      return safetensors.save(path, Object.fromEntries(tensors), {
        ...kohyaMetadata(this.rank),
        ...metadata,
      });
    });
  }

  /** Idempotent. */
  dispose(): void {
    for (const { up, down, start } of this.factors.values())
      for (const tensor of [up, down, start]) tensor.dispose();
  }
}

function projections(unet: UNet2DConditionModel): string[] {
  return unet.parameterNames().filter((key) => CROSS_ATTENTION.test(key));
}

/** Rows and columns of a weight as a matrix. */
function sides([rows, ...rest]: readonly number[]): [rows: number, columns: number] {
  return [rows!, rest.reduce((product, length) => product * length, 1)];
}
