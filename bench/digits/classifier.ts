import { initialise } from "../../examples/train-pocket/initial-weights";
import { type Random, ResNet, scope, Tensor } from "../../lib/index";
import { CLASSES, draw, type Digits } from "./dataset";
import { train } from "./train";

const BATCH = 64;
const NOISE = 0.1;

/** Says which digit an 8×8 picture shows; it has never seen a generated one. */
export class DigitClassifier {
  private constructor(private readonly network: ResNet) {}

  /** Trained by cross-entropy on pictures with a little noise. */
  static async train(digits: Digits, steps: number, random: Random): Promise<DigitClassifier> {
    const network = new ResNet({ depth: 18, num_classes: CLASSES, width: 8, stem: "small" }, "the digits' classifier"); // prettier-ignore
    await initialise(network, random.at("first"), "cpu");
    const places = digits.labels.map((_, place) => place);
    await train(
      network.weightNames().map((name) => network.parameter(name)),
      {
        steps,
        learningRate: 3e-3,
        async loss(step) {
          const source = random.at("step", step);
          const chosen = draw(places, BATCH, source);
          const pictures = digits.pictures(chosen);
          const noisy = pictures.add(source.at("noise").normal(pictures.shape).mul(NOISE));
          const logits = await network.forward(coloured(noisy), { train: true, grad: true });
          const target = new Float32Array(BATCH * CLASSES);
          for (const [item, place] of chosen.entries()) target[item * CLASSES + digits.labels[place]!] = 1;
          return logits
            .logSoftmax(1)
            .mul(Tensor.from(target, [BATCH, CLASSES]))
            .sum()
            .div(-BATCH);
        },
      },
    );
    return new DigitClassifier(network);
  }

  /** The most likely digit of each picture. @param pictures (B, 1, 8, 8) */
  async classify(pictures: Tensor): Promise<number[]> {
    return scope(async () => {
      const logits = await this.network.forward(coloured(pictures));
      return Array.from(await logits.argmax(1).data(), Number);
    });
  }

  [Symbol.dispose](): void {
    this.network.dispose();
  }
}

/** The network's three colours. */
function coloured(pictures: Tensor): Tensor {
  const [count = 0, , height = 0, width = 0] = pictures.shape;
  return pictures.expand([count, 3, height, width]);
}
