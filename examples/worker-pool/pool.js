// Erases each concept from the same model, as many at once as there are threads: node pool.js --concept church --concept dog
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";

/** Threads that take jobs as they become free. */
class ErasurePool {
  #model;
  #threads = new Set();
  #idle = [];
  #waiting = [];

  constructor(size, model) {
    this.#model = model;
    this.#idle = Array.from({ length: size }, () => this.#start());
  }

  /** Erases one concept into a folder; `onEvent` hears { type: "start" | "step" | "done", … }. */
  async erase(job, onEvent) {
    const thread = this.#idle.pop() ?? (await new Promise((resolve) => this.#waiting.push(resolve)));
    try {
      await run(thread, job, onEvent);
    } finally {
      const free = this.#threads.has(thread) ? thread : this.#start();
      const next = this.#waiting.shift();
      if (next) next(free);
      else this.#idle.push(free);
    }
  }

  /** Lets each running erasure end at its next step, then the threads. */
  abort() {
    for (const thread of this.#threads) thread.postMessage({ type: "abort" });
  }

  async close() {
    await Promise.all([...this.#threads].map((thread) => thread.terminate()));
  }

  #start() {
    const thread = new Worker(new URL("worker.js", import.meta.url), { workerData: { model: this.#model } });
    this.#threads.add(thread);
    // It ends then: out of memory, for one. Its job fails, and another thread takes its place.
    thread.once("error", () => this.#threads.delete(thread));
    return thread;
  }
}

function run(thread, job, onEvent) {
  return new Promise((resolve, reject) => {
    const settle = (settled, value) => {
      thread.off("message", heard).off("error", failed);
      settled(value);
    };
    const failed = (error) => settle(reject, error);
    const heard = (event) => {
      // Errors lose their code on the way between threads, so it comes as a field of its own.
      if (event.type === "error")
        return failed(Object.assign(new Error(event.message), { code: event.code }));
      onEvent(event);
      if (event.type === "done") settle(resolve);
    };
    thread.on("message", heard).on("error", failed);
    thread.postMessage({ type: "erase", job });
  });
}

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "pocket" },
    concept: { type: "string", multiple: true, default: ["church", "dog"] },
    options: { type: "string", default: '{ "iterations": 500 }' },
    threads: { type: "string", default: "2" },
    out: { type: "string", default: "out" },
  },
});

const pool = new ErasurePool(Number(values.threads), values.model);
process.once("SIGINT", () => pool.abort());
const jobs = values.concept.map(async (concept, index) => {
  // Numbered, since a concept's name need not be good for a file.
  const folder = join(values.out, `${index + 1}`);
  const job = { folder, options: { ...JSON.parse(values.options), concepts: concept } };
  await pool.erase(job, ({ type, iteration }) => console.log(concept, iteration ?? type));
});
for (const { status, reason } of await Promise.allSettled(jobs)) {
  if (status === "fulfilled") continue;
  console.error(`${reason.code ?? "Error"}: ${reason.message}`);
  process.exitCode = 1;
}
await pool.close();
