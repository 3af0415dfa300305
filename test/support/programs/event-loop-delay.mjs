// event-loop-delay.mjs MODEL SECONDS: the longest delay of the event loop in each iteration of KPOP, which trains a UNet
// of MODEL's kind, so wide that its forward takes long beside what a delay may be; in milliseconds.
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import {
  erase,
  Random,
  safetensors,
  scope,
  StableDiffusion,
  UNet2DConditionModel,
} from "../../../dist/index.js";

const WIDTHS = [192, 384, 384];

/** A copy of the model with a wider UNet of drawn weights. */
async function widened(path, folder) {
  await cp(path, folder, { recursive: true });
  const file = join(folder, "unet", "config.json");
  const config = { ...JSON.parse(await readFile(file, "utf8")), block_out_channels: WIDTHS };
  await writeFile(file, JSON.stringify(config));
  await scope(async () => {
    const shapes = Object.entries(new UNet2DConditionModel(config).parameterShapes());
    const weights = shapes.map(([name, shape], index) => {
      const fan = shape.slice(1).reduce((a, b) => a * b, 1);
      return [name, new Random(index).normal(shape).div(Math.sqrt(fan))];
    });
    await safetensors.save(
      join(folder, "unet", "diffusion_pytorch_model.safetensors"),
      Object.fromEntries(weights),
    );
  });
}

/** How long one prediction takes, which is one task of the device's thread. */
async function forwardTime(model) {
  const context = await model.encode("church");
  const times = [];
  for (let i = 0; i < 3; i++) {
    const start = performance.now();
    const noise = await model.unet.forward(new Random(1).normal([1, 4, 16, 16]), 500, context);
    await noise.settled();
    times.push(performance.now() - start);
  }
  return Math.min(...times);
}

const [path, seconds] = process.argv.slice(2);
const folder = await mkdtemp(join(tmpdir(), "kpop-wide-"));
await widened(path, folder);
const model = await StableDiffusion.load(folder, { device: "cpu" });
const forward = await forwardTime(model);
const controller = new AbortController();
const delays = monitorEventLoopDelay({ resolution: 1 });
const longest = []; // of each iteration
try {
  await erase(model, {
    concepts: "church",
    poolSize: 1,
    samplingSteps: 3,
    signal: controller.signal,
    onStep() {
      if (delays.enable()) {
        // Loading and compiling are over with the first iteration.
        setTimeout(() => controller.abort(), 1000 * Number(seconds));
      } else {
        // Not before the loop has gone round and told of what onStep's caller did.
        setTimeout(() => {
          longest.push(delays.max / 1e6);
          delays.reset();
        }, 5);
      }
    },
  });
} catch (error) {
  if (error.code !== "ABORTED") throw error;
}
delays.disable();
await rm(folder, { recursive: true, force: true });
console.log(JSON.stringify({ forward, longest }));
