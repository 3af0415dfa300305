// terminate-worker.mjs MODEL MILLISECONDS...: ends threads that are training, each after its time, and works on in the
// main thread.
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { erase, StableDiffusion } from "../../../dist/index.js";

if (isMainThread) {
  const [path, ...delays] = process.argv.slice(2);
  const model = await StableDiffusion.load(path, { device: "cpu" });
  const [before] = await model.generate("church", { steps: 2 });
  const same = (image) => Buffer.compare(image.data, before.data) === 0;
  const results = [];
  for (const delay of delays) {
    const worker = new Worker(new URL(import.meta.url), { workerData: path });
    await new Promise((resolve) => worker.once("message", resolve));
    const during = model.generate("church", { steps: 2 });
    await new Promise((resolve) => setTimeout(resolve, Number(delay)));
    const code = await worker.terminate();
    const [after] = await model.generate("church", { steps: 2 });
    results.push({ code, during: same((await during)[0]), after: same(after) });
  }
  console.log(JSON.stringify(results));
} else {
  const model = await StableDiffusion.load(workerData, { device: "cpu" });
  const onStep = ({ iteration }) => parentPort.postMessage(iteration);
  await erase(model, { concepts: "church", iterations: 1000, poolSize: 1, samplingSteps: 2, onStep });
}
