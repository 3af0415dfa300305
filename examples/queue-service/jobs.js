import { randomUUID } from "node:crypto";
import { FlowProducer, Queue } from "bullmq";
import { Redis } from "ioredis";

export const REDIS_URL = process.env.REDIS_URL ?? "redis://127.0.0.1:6379";
export const QUEUE = "kpop";
/** Where workers hear of jobs to cancel. */
export const CANCELLED = "kpop:cancelled";

const connection = { url: REDIS_URL };
/** For workers that hear of it late, such as the next one of a job whose worker was killed. */
const CANCELLED_FOR_SECONDS = 7 * 86_400;

/** The queue as those see it who add, look and cancel. */
export class Jobs {
  #queue = new Queue(QUEUE, { connection });
  #flows = new FlowProducer({ connection });
  #redis = new Redis(REDIS_URL);

  /**
   * Adds an erasure, and where `evaluate` is given an evaluation of its result, which waits for it.
   * @param erase method, concepts, and options of the method
   * @param evaluate erased, preserved and other options of `evaluate`
   * @returns the id of each
   */
  async add({ erase, evaluate }) {
    const ids = { erase: randomUUID(), ...(evaluate && { evaluate: randomUUID() }) };
    const job = (name, data) => ({
      ...{ name, queueName: QUEUE, data },
      opts: { jobId: ids[name], failParentOnFailure: true },
    });
    const erasing = job("erase", erase);
    await this.#flows.add(
      evaluate ? { ...job("evaluate", { ...evaluate, of: ids.erase }), children: [erasing] } : erasing,
    );
    return ids;
  }

  get(id) {
    return this.#queue.getJob(id);
  }

  /** A running job fails at its next step, a waiting one when its turn comes; what waits for it fails with it. */
  async cancel(id) {
    const job = await this.get(id);
    if (!job || (await job.isCompleted()) || (await job.isFailed())) return;
    await this.#redis.set(key(id), 1, "EX", CANCELLED_FOR_SECONDS);
    await this.#redis.publish(CANCELLED, id);
  }

  isCancelled(id) {
    return this.#redis.exists(key(id));
  }

  async close() {
    await Promise.all([this.#queue.close(), this.#flows.close()]);
    this.#redis.disconnect();
  }
}

const key = (id) => `${CANCELLED}:${id}`;
