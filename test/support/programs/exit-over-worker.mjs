// exit-over-worker.mjs MODEL HOW: ends the process, by "exit" or by "throw", while a thread trains.
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { erase, StableDiffusion } from "../../../dist/index.js";

const path = isMainThread ? process.argv[2] : workerData;
const model = await StableDiffusion.load(path, { device: "cpu" });
if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url), { workerData: path });
  worker.on("message", () => {
    void model.generate("church", { steps: 50 });
    console.log("leaving");
    if (process.argv[3] === "exit") process.exit(0);
    throw new Error("thrown on purpose");
  });
} else {
  const onStep = () => parentPort.postMessage("step");
  await erase(model, { concepts: "church", iterations: 1000, poolSize: 1, samplingSteps: 2, onStep });
}
