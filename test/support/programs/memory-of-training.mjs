// memory-of-training.mjs ITERATIONS: resident bytes after every fifth iteration of KPOP on a tiny model, all of whose
// UNet is trained. Needs --expose-gc.
import { erase, StableDiffusion } from "../../../dist/index.js";
import { writeTinyModel } from "./tiny-model.mjs";

const iterations = Number(process.argv[2]);
const model = await StableDiffusion.load(await writeTinyModel(), { device: "cpu" });
const resident = [];
const erasure = await erase(model, {
  concepts: "church",
  iterations,
  poolSize: 1,
  samplingSteps: 10,
  parameters: "full",
  onStep({ iteration }) {
    if (iteration % 5 !== 0) return;
    globalThis.gc();
    resident.push(process.memoryUsage.rss());
  },
});
erasure.dispose();
console.log(JSON.stringify(resident));
