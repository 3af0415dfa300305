// memory-of-cycles.mjs MODEL CYCLES: resident bytes after each cycle of loading, erasing, generating and disposing.
// Needs --expose-gc.
import { erase, StableDiffusion } from "../../../dist/index.js";

const [path, cycles] = process.argv.slice(2);
const resident = [];
for (let cycle = 0; cycle < Number(cycles); cycle++) {
  const model = await StableDiffusion.load(path, { device: "cpu" });
  const erasure = await erase(model, { concepts: "church", iterations: 1, poolSize: 1, samplingSteps: 2 });
  await erasure.model.generate("church", { steps: 1, key: erasure.key });
  erasure.dispose();
  model.dispose();
  // Finalizers run between turns of the event loop.
  globalThis.gc();
  await new Promise((resolve) => setTimeout(resolve, 1));
  globalThis.gc();
  resident.push(process.memoryUsage.rss());
}
console.log(JSON.stringify(resident));
