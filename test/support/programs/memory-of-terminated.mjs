// memory-of-terminated.mjs ROUNDS COUNT MIB: each round ends a thread to which COUNT results of MIB each are on their
// way; the resident size after each, in MiB.
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Random } from "../../../dist/index.js";

if (isMainThread) {
  const [rounds, count, mebibytes] = process.argv.slice(2).map(Number);
  const resident = [];
  for (let round = 0; round < rounds; round++) {
    const worker = new Worker(new URL(import.meta.url), { workerData: { count, mebibytes } });
    await new Promise((resolve) => worker.once("message", resolve));
    // One worker of the addon serves all threads: behind the other thread's results this one is computed.
    await new Random(0).normal([1]).settled();
    await worker.terminate();
    resident.push(process.memoryUsage.rss() / 2 ** 20);
  }
  console.log(JSON.stringify(resident));
} else {
  const tensor = await new Random(0).normal([workerData.mebibytes * 2 ** 18]).settled();
  for (let i = 0; i < workerData.count; i++) void tensor.data();
  parentPort.postMessage("queued");
  // No result can be taken any more.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}
