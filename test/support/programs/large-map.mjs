// One forward and backward of large-maps.test.ts, by the instructions that ATEN_CPU_CAPABILITY leaves.
// argv: config.json, weights, where the prediction and the sample's gradient go; safetensors.
import { readFileSync } from "node:fs";
import { Random, safetensors, UNet2DConditionModel } from "../../../dist/index.js";

const [config, weights, results] = process.argv.slice(2);
const normal = (seed, shape) => new Random(seed).normal(shape);
const unet = new UNet2DConditionModel(JSON.parse(readFileSync(config, "utf8")));
await unet.assign(await safetensors.load(weights));
await unet.useFastestLayout();
const sample = normal(1, [2, 4, 32, 32]);
await sample.requireGrad();
const out = await unet.forward(sample, [17, 801], normal(2, [2, 77, 64]), { grad: true });
await out.mse(normal(4, [2, 4, 32, 32])).backward();
await safetensors.save(
  results,
  new Map([
    ["out", out],
    ["grad.sample", sample.grad],
  ]),
);
console.log("{}");
