// exit-in-mid-run.mjs MODEL MILLISECONDS: calls process.exit() while forwards, a backward and a training are queued.
import { erase, Random, StableDiffusion } from "../../../dist/index.js";

const [path, delay] = process.argv.slice(2);
const model = await StableDiffusion.load(path, { device: "cpu" });
const context = await model.encode("church");
const side = model.unet.config.sample_size ?? 16;
const weight = model.unet.parameter("conv_in.weight");
await weight.requireGrad();
const sample = new Random(1).normal([4, 4, side, side]);
const repeated = context.expand([4, ...context.shape.slice(1)]);
for (let i = 0; i < 20; i++) {
  void model.unet
    .forward(sample, 500, repeated, { grad: true })
    .then((noise) => noise.square().mean().backward());
}
void erase(model, { concepts: "church", iterations: 100, poolSize: 2, samplingSteps: 5 });
setTimeout(() => {
  console.log("leaving");
  process.exit(0);
}, Number(delay));
