// memory-of-training.mjs MODEL ITERATIONS: resident bytes after every fifth iteration of KPOP. Needs --expose-gc.
import { erase, StableDiffusion } from "../../../dist/index.js";

const [path, iterations] = process.argv.slice(2);
const model = await StableDiffusion.load(path, { device: "cpu" });
const resident = [];
const erasure = await erase(model, {
  concepts: "church",
  iterations: Number(iterations),
  poolSize: 1,
  samplingSteps: 10,
  onStep({ iteration }) {
    if (iteration % 5 !== 0) return;
    globalThis.gc();
    resident.push(process.memoryUsage.rss());
  },
});
erasure.dispose();
console.log(JSON.stringify(resident));
