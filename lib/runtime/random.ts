import { integer } from "../check";
import { addon } from "./binding";
import { Tensor, type Dtype } from "./tensor";

const mask = (1n << 64n) - 1n;

/** SplitMix64's finaliser (Steele, Lea and Flood 2014): a bijection of 64-bit words that spreads every bit. */
function mix(word: bigint): bigint {
  let z = (word + 0x9e3779b97f4a7c15n) & mask;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask;
  return z ^ (z >> 31n);
}

function labelWord(label: string | number): bigint {
  if (typeof label === "number") return BigInt(integer("label", label, 0));
  let hash = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(label, "utf8")) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & mask;
  return hash;
}

/**
 * A source of random draws that is a pure function of its seed and labels: `at("noise", 12)` gives the same draws
 * whatever was drawn before, so a job resumes in the middle without any saved state.
 */
export class Random {
  private readonly word: bigint;

  /** @param seed an integer >= 0 */
  constructor(seed: number | bigint) {
    this.word = typeof seed === "bigint" ? seed & mask : BigInt(integer("seed", seed, 0));
  }

  /** The independent source for these labels. */
  at(...labels: (string | number)[]): Random {
    return new Random(labels.reduce((word, label) => mix(word ^ mix(labelWord(label))), this.word));
  }

  /** A uniform number in [0, 1), from the upper 53 bits. */
  uniform(): number {
    return Number(mix(this.word) >> 11n) / 2 ** 53;
  }

  /** A uniform integer in [0, count). */
  below(count: number): number {
    return Math.floor(this.uniform() * integer("count", count, 1));
  }

  /** Standard normal draws: those of PyTorch's CPU generator seeded with this source's word. */
  normal(shape: readonly number[], options: { dtype?: Dtype; device?: string } = {}): Tensor {
    return new Tensor(
      addon().randn([...shape], this.word, options.dtype ?? "float32", options.device ?? "cpu"),
    );
  }
}

/** `count` different numbers below `end`, in a random order. */
export function distinct(random: Random, count: number, end: number): number[] {
  const left = Array.from({ length: end }, (_, index) => index);
  return Array.from({ length: count }, (_, item) => left.splice(random.at(item).below(left.length), 1)[0]!);
}
