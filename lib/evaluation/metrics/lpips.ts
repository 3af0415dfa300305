import { filePath } from "../../check";
import { KpopError, throwIfAborted } from "../../errors";
import type { Image } from "../../io/image";
import { localPath } from "../../io/local-path";
import * as safetensors from "../../io/safetensors";
import { LPIPS } from "../../models/lpips";
import { path } from "../../options/kinds";
import { noGrad } from "../../runtime/grad-mode";
import { scope, unscoped } from "../../runtime/scope";
import { hashNetwork } from "../judge";
import { loadMetricNetwork } from "../load-network";
import { defineMetric, type Figure, type Measurement, type OpenMetric, type PictureGroup } from "../metric";
import { stacked } from "../preprocess";
import { meanOf, type Mean } from "../rates";

/** The heads a second time, under the name of their list. */
const IGNORED = [/^lins\./];

/** Mean distances from the first model's pictures at the same seeds: of all pictures, and of the groups that there are. */
export interface PictureDistances {
  all: Mean;
  erased?: Mean;
  preserved?: Mean;
}

/** Learned perceptual distance of pictures from those of the first model at the same seeds. */
export const lpips = defineMetric({
  name: "lpips",
  title: "LPIPS",
  reference: "arXiv 1801.03924",
  short: "learned perceptual distance from the first model's pictures",
  options: {
    /** Safetensors file with the whole network of the package lpips, trunk and heads: AlexNet or VGG. */
    weights: path(undefined, "safetensors file with the network of the package lpips, alex or vgg"),
  },
  check(o) {
    filePath("lpips.weights", o.weights);
  },
  async open({ weights }, { device, models, signal }): Promise<OpenMetric<PictureDistances, number>> {
    const origin = weights!;
    if (models < 2)
      throw new KpopError(
        "INVALID_ARGUMENT",
        "Expected several models for lpips, which compares the pictures of each with the first one's, but received one; give the original first",
      );
    const file = await localPath(origin, { signal });
    const network = new LPIPS({ net: await trunkOf(file) }, origin);
    await loadMetricNetwork("lpips", network, file, {
      device,
      ignore: IGNORED,
      ...(signal === undefined ? {} : { signal }),
    });
    return {
      origin,
      hash: (given) => hashNetwork(network, ["lpips", network.config], given),
      measure: (first) => (first === null ? NOTHING : new DistanceMeasurement(network, device)),
      dispose: () => network.dispose(),
    };
  },
  figures: (result: PictureDistances) =>
    (["all", "erased", "preserved"] as const).flatMap((group): Figure[] => {
      const value = result[group];
      const name = group === "all" ? "LPIPS" : `LPIPS, ${group}`;
      return value === undefined ? [] : [{ name, value, digits: 3 }];
    }),
  words: (note: number) => ({ text: `LPIPS ${note.toFixed(3)}` }),
});

/** The first model's pictures, from which nothing is measured. */
const NOTHING: Measurement<PictureDistances, number> = {
  add: async () => null,
  result: () => null,
  dispose() {},
};

class DistanceMeasurement implements Measurement<PictureDistances, number> {
  private readonly seen: { group: PictureGroup | null; distance: number }[] = [];

  constructor(
    private readonly network: LPIPS,
    private readonly device: string,
  ) {}

  // A pair at a time: the first maps of VGG take 67 MB for a picture of 512 × 512.
  async add(
    ...[{ images, groups, firsts }, signal]: Parameters<Measurement<PictureDistances, number>["add"]>
  ) {
    const distances = [];
    for (const [i, image] of images.entries()) {
      throwIfAborted(signal);
      const distance = await this.distance(firsts![i]!, image);
      distances.push(distance);
      this.seen.push({ group: groups[i]!, distance });
    }
    return distances;
  }

  result(): PictureDistances {
    const mean = (group: PictureGroup): { [G in PictureGroup]?: Mean } => {
      const own = this.seen.filter((one) => one.group === group).map(({ distance }) => distance);
      return own.length === 0 ? {} : { [group]: meanOf(own) };
    };
    return {
      all: meanOf(this.seen.map(({ distance }) => distance)),
      ...mean("erased"),
      ...mean("preserved"),
    };
  }

  dispose(): void {}

  private async distance(first: Image, second: Image): Promise<number> {
    if (first.width !== second.width || first.height !== second.height)
      throw new KpopError(
        "INVALID_ARGUMENT",
        `Expected pictures of one size for lpips but the first model drew ${first.width} × ${first.height} and another ${second.width} × ${second.height}; give width and height`,
      );
    return unscoped(() =>
      noGrad(() =>
        scope(async () => {
          const pixels = (image: Image) => stacked([image], this.device).to("float32").div(127.5).sub(1);
          return (await this.network.forward(pixels(first), pixels(second))).item();
        }),
      ),
    );
  }
}

/** Which trunk a file is of, by its first convolution. */
async function trunkOf(weights: string): Promise<"alex" | "vgg"> {
  await using file = await safetensors.open(weights);
  return file.shapes.get("net.slice1.0.weight")?.[2] === 3 ? "vgg" : "alex";
}
