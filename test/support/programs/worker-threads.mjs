// worker-threads.mjs MODEL COUNT: as many threads at once load the model, erase and generate; what each came to, and
// what the main thread comes to afterwards. `held`: the add-on, whose threads live on, outlived those that loaded it.
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { erase, StableDiffusion } from "../../../dist/index.js";
import { hashTensor, hashWeights } from "./hashes.mjs";

async function work(path) {
  const model = await StableDiffusion.load(path, { device: "cpu" });
  const options = { concepts: "church", iterations: 3, poolSize: 2, samplingSteps: 5 };
  const erasure = await erase(model, options);
  const images = await erasure.model.generate(["church", "a dog"], { steps: 2, key: erasure.key });
  const hash = createHash("sha256");
  for (const image of images) hash.update(image.data);
  const result = {
    weights: await hashWeights(erasure.model.unet),
    prompt: await hashTensor(erasure.key.prompt),
    images: hash.digest("hex"),
  };
  erasure.dispose();
  model.dispose();
  return result;
}

if (isMainThread) {
  const [path, count] = process.argv.slice(2);
  const threads = Array.from({ length: Number(count) }, () => {
    const worker = new Worker(new URL(import.meta.url), { workerData: path });
    return new Promise((resolve, reject) => {
      let result;
      worker.once("message", (message) => (result = message));
      worker.once("error", reject);
      worker.once("exit", (code) => resolve({ code, result }));
    });
  });
  const exits = await Promise.all(threads);
  const held = readFileSync("/proc/self/maps", "utf8").includes("kpop_native.node");
  console.log(JSON.stringify({ exits, held, main: await work(path) }));
} else {
  parentPort.postMessage(await work(workerData));
}
