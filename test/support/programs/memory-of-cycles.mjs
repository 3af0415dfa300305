// memory-of-cycles.mjs CYCLES EVERY: resident bytes after every so many cycles of loading a tiny model, erasing,
// generating and disposing. Needs --expose-gc.
import { erase, StableDiffusion } from "../../../dist/index.js";
import { writeTinyModel } from "./tiny-model.mjs";

const [cycles, every] = process.argv.slice(2).map(Number);
const path = await writeTinyModel();
const resident = [];
for (let cycle = 1; cycle <= cycles; cycle++) {
  const model = await StableDiffusion.load(path, { device: "cpu" });
  const erasure = await erase(model, { concepts: "church", iterations: 1, poolSize: 1, samplingSteps: 2 });
  await erasure.model.generate("church", { steps: 1, key: erasure.key });
  erasure.dispose();
  model.dispose();
  if (cycle % every !== 0) continue;
  // Finalizers run between turns of the event loop.
  globalThis.gc();
  await new Promise((resolve) => setTimeout(resolve, 1));
  globalThis.gc();
  resident.push(process.memoryUsage.rss());
}
console.log(JSON.stringify(resident));
