import { randomUUID } from "node:crypto";
import { EventEmitter } from "node:events";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { erase, KpopError } from "kpop-native";

/** One erasure. Emits "event" with a name ("start", "step", "done", "error") and what is to be told of it. */
class Job extends EventEmitter {
  id = randomUUID();
  /** The latest event of each name, in order, for those who come later. */
  past = new Map();
  settled = Promise.resolve();
  #stop = new AbortController();

  constructor(options, directory) {
    super();
    this.setMaxListeners(0);
    this.options = options;
    this.folder = join(directory, this.id);
    this.file = join(this.folder, "model.safetensors");
  }

  get done() {
    return this.past.has("done");
  }

  get failed() {
    return this.past.has("error");
  }

  /** A waiting job ends at once, a running one at its next step, an ended one stays as it is. */
  cancel() {
    if (this.done || this.failed) return;
    this.#stop.abort();
    if (!this.past.has("start")) this.#tell("error", { code: "ABORTED", message: "Cancelled" });
  }

  async run(model) {
    if (this.failed) return;
    const { signal } = this.#stop;
    const { method, concepts } = this.options;
    this.#tell("start", { method, concepts });
    try {
      const onStep = (report) => this.#tell("step", report);
      const erasure = await erase(model, { ...this.options, signal, onStep });
      try {
        await erasure.save(this.folder, { format: "single-file", signal });
        const { outputs, seconds } = erasure.manifest;
        this.#tell("done", { sha256: outputs["model.safetensors"], seconds });
      } finally {
        erasure.dispose();
      }
    } catch (error) {
      const { code, message } = error instanceof KpopError ? error : { code: "INTERNAL", message: "Failed" };
      if (code === "INTERNAL") console.error(error);
      this.#tell("error", { code, message });
    }
  }

  #tell(name, data) {
    this.past.set(name, data);
    this.emit("event", name, data);
  }
}

/** Erasures from one model, one at a time, in the order they came. */
export class JobQueue {
  #jobs = new Map();
  #last = Promise.resolve();

  /**
   * @param directory where results are kept until their job is removed
   * @param capacity of jobs that wait, run, or hold a result
   */
  constructor(model, directory, capacity) {
    Object.assign(this, { model, directory, capacity });
  }

  get(id) {
    return this.#jobs.get(id);
  }

  /** @returns the job, or undefined when the queue is full */
  add(options) {
    if (this.#jobs.size >= this.capacity) this.#forgetFailed();
    if (this.#jobs.size >= this.capacity) return undefined;
    const job = new Job(options, this.directory);
    this.#jobs.set(job.id, job);
    job.settled = this.#last = this.#last.then(() => job.run(this.model));
    return job;
  }

  /** Cancels a job that has not ended, and deletes its result. */
  async remove(job) {
    this.#jobs.delete(job.id);
    job.cancel();
    if (job.past.has("start")) await job.settled;
    await rm(job.folder, { recursive: true, force: true });
  }

  async close() {
    for (const job of this.#jobs.values()) job.cancel();
    await this.#last;
  }

  #forgetFailed() {
    for (const job of this.#jobs.values()) if (job.failed) this.#jobs.delete(job.id);
  }
}
