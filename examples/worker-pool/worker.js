// One thread of the pool: a model of its own, loaded once, and one erasure at a time.
import { join } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { erase, StableDiffusion } from "kpop-native";

const stop = new AbortController();
const model = StableDiffusion.load(workerData.model, { signal: stop.signal });
// Whoever waits for it hears of it.
model.catch(() => {});

async function run({ folder, options }) {
  const erasure = await erase(await model, {
    ...options,
    signal: stop.signal,
    onStep: (report) => parentPort.postMessage({ type: "step", ...report }),
  });
  try {
    await erasure.save(join(folder, "model"), { force: true, signal: stop.signal });
    await erasure.key?.save(join(folder, "key.safetensors"));
  } finally {
    erasure.dispose();
  }
}

parentPort.on("message", async ({ type, job }) => {
  if (type === "abort") return stop.abort();
  try {
    parentPort.postMessage({ type: "start" });
    await run(job);
    parentPort.postMessage({ type: "done" });
  } catch ({ code, message }) {
    parentPort.postMessage({ type: "error", code, message });
  }
});
