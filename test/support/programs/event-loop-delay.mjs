// event-loop-delay.mjs MODEL SECONDS: the delays of the event loop while KPOP trains, in milliseconds.
import { monitorEventLoopDelay } from "node:perf_hooks";
import { erase, StableDiffusion } from "../../../dist/index.js";

const [path, seconds] = process.argv.slice(2);
const model = await StableDiffusion.load(path, { device: "cpu" });
const controller = new AbortController();
const delays = monitorEventLoopDelay({ resolution: 1 });
let iterations = 0;
try {
  await erase(model, {
    concepts: "church",
    poolSize: 2,
    samplingSteps: 10,
    signal: controller.signal,
    onStep() {
      // Loading and compiling are over with the first iteration.
      if (iterations++ === 0) {
        delays.enable();
        setTimeout(() => controller.abort(), 1000 * Number(seconds));
      }
    },
  });
} catch (error) {
  if (error.code !== "ABORTED") throw error;
}
delays.disable();
const milliseconds = (nanoseconds) => nanoseconds / 1e6;
console.log(
  JSON.stringify({
    iterations,
    samples: delays.count,
    median: milliseconds(delays.percentile(50)),
    p99: milliseconds(delays.percentile(99)),
    max: milliseconds(delays.max),
  }),
);
