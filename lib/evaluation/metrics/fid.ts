import { filePath } from "../../check";
import { KpopError } from "../../errors";
import { localPath } from "../../io/local-path";
import * as safetensors from "../../io/safetensors";
import { InceptionV3 } from "../../models/inception";
import { path } from "../../options/kinds";
import { Tensor } from "../../runtime/tensor";
import { factorOf, frechetDistance, gaussianOf, type Gaussian } from "../frechet";
import { hashNetwork } from "../judge";
import { loadMetricNetwork } from "../load-network";
import { defineMetric } from "../metric";
import { runsOfOneSize, stacked } from "../preprocess";
import {
  checkReference,
  compareSets,
  distanceFigures,
  REFERENCE_OPTIONS,
  type SetComparison,
} from "../set-distance";

const FEATURES = 2048;
/** Outputs of the network that FID is defined on; torchvision's, which has the same keys, has a thousand. */
const OUTPUTS = 1008;
/** The classifier behind the features, and counters of training. */
const IGNORED = [/^fc\./, /\.num_batches_tracked$/];

/** Fréchet Inception distance: how far pictures are from a reference, as Gaussians of Inception's features. */
export const fid = defineMetric({
  name: "fid",
  title: "FID",
  reference: "arXiv 1706.08500",
  short: "Fréchet Inception distance from a reference",
  options: {
    /** Safetensors file with the network of the original FID: pytorch-fid's pt_inception-2015-12-05, converted. */
    weights: path(undefined, "safetensors file with FID's own Inception network"),
    ...REFERENCE_OPTIONS,
  },
  check(o) {
    filePath("fid.weights", o.weights);
    checkReference("fid", o);
  },
  async open(o, job) {
    const origin = o.weights!;
    const { device, signal } = job;
    const weights = await localPath(origin, { signal });
    await refuseTorchvision(weights);
    const network = new InceptionV3();
    await loadMetricNetwork("fid", network, weights, {
      device,
      ignore: IGNORED,
      ...(signal === undefined ? {} : { signal }),
    });
    const comparison: SetComparison<Gaussian> = {
      name: "fid",
      origin,
      fewest: 2,
      wanted: FEATURES,
      hash: (given) => hashNetwork(network, "fid", given),
      async features(images) {
        const features = [];
        for (const run of runsOfOneSize(images))
          features.push(await network.forward(stacked(run, device).to("float32").div(255)));
        return Tensor.cat(features);
      },
      summary: gaussianOf,
      saved: { mu: [FEATURES], sigma: [FEATURES, FEATURES] },
      toSaved: ({ mean, factor }) => ({ mu: mean, sigma: factor.transpose(0, 1).matmul(factor) }),
      fromSaved: ({ mu, sigma }) => ({ mean: mu!, factor: factorOf(sigma!) }),
      distance: frechetDistance,
      dispose: () => network.dispose(),
    };
    return compareSets(comparison, o, job);
  },
  figures: distanceFigures("FID", 2),
});

/** @throws UNSUPPORTED_MODEL; what opening the file throws */
async function refuseTorchvision(weights: string): Promise<void> {
  await using file = await safetensors.open(weights);
  const outputs = file.shapes.get("fc.weight")?.[0];
  if (outputs === undefined || outputs === OUTPUTS) return;
  throw new KpopError(
    "UNSUPPORTED_MODEL",
    `Expected ${weights} to be the Inception network of the original FID, of ${OUTPUTS} outputs, but received one of ${outputs}, as torchvision's is: its distances are others; docs/measures.md says how to convert pt_inception-2015-12-05`,
  );
}
