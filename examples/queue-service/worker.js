// A worker: erases and evaluates, one job at a time. REDIS_URL, MODEL (a checkpoint, or "pocket"), DATA (a folder that all
// workers share), EVERY (iterations from one saved state to the next) and LOCK_MS come from the environment.
import { rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { UnrecoverableError, WaitingError, Worker } from "bullmq";
import { Redis } from "ioredis";
import { erase, evaluate, KpopError, StableDiffusion } from "kpop-native";
import { CANCELLED, Jobs, QUEUE, REDIS_URL } from "./jobs.js";

const DATA = resolve(process.env.DATA ?? "out");
const EVERY = Number(process.env.EVERY ?? 50);
/** How long a worker is not heard of until its job goes to another. It renews its lock twice in that time. */
const LOCK_MS = Number(process.env.LOCK_MS ?? 30_000);
/** Deaths of workers that a job is given; then it counts as what they die of. */
const DEATHS = 3;
const PROGRESS_MS = 250;
/** Why a job is to stop. */
const [CANCEL, LOST, END] = ["it is cancelled", "another worker has it", "the worker ends"];

const folder = (id, ...parts) => join(DATA, id, ...parts);

/** A job's state lies in a folder of its id: whoever gets the job next goes on from it, to the same bits. */
async function eraseJob({ id, data: { method, concepts, seed = 0, options } }, signal, onStep) {
  const erasure = await erase(model, {
    ...{ ...options, method, concepts, seed, signal, onStep },
    checkpoint: { directory: folder(id, "state"), every: EVERY },
    resume: true,
  });
  try {
    const path = folder(id, "model");
    // A worker that was killed after it had saved leaves a model there.
    await erasure.save(path, { force: true, signal });
    const { seconds, unetEvaluations, outputs } = erasure.manifest;
    return { path, seconds, unetEvaluations, outputs };
  } finally {
    // The key, which would bring the concepts back, goes with it.
    erasure.dispose();
  }
}

/** Pictures are made once: what a killed worker has drawn, the next one finds. */
async function evaluateJob({ data: { of, ...options } }, signal, onProgress) {
  const cacheDirectory = folder(of, "images");
  const measured = await evaluate(folder(of, "model"), { ...options, cacheDirectory, signal, onProgress });
  const { esr, psr, images, generated } = measured;
  return { esr, psr, images, generated };
}

const WORK = { erase: eraseJob, evaluate: evaluateJob };

async function work(job, token, signal) {
  if (await jobs.isCancelled(job.id)) throw new UnrecoverableError("Cancelled");
  let told = 0;
  const report = (progress) => {
    if (performance.now() - told < PROGRESS_MS) return;
    told = performance.now();
    job.updateProgress(progress).catch(console.error);
  };
  try {
    return await WORK[job.name](job, signal, report);
  } catch (error) {
    if (!(error instanceof KpopError)) throw error;
    if (error.code !== "ABORTED") throw new UnrecoverableError(`${error.code}: ${error.message}`);
    if (signal.reason === CANCEL) throw new UnrecoverableError("Cancelled");
    if (signal.reason !== END) throw error;
    // The job goes back, with the state that the abort has left.
    await job.moveToWait(token);
    throw new WaitingError();
  }
}

const model = await StableDiffusion.load(process.env.MODEL ?? "pocket");
const jobs = new Jobs();
// Before the first job is there, so that no word of its cancellation is missed.
const cancellations = new Redis(REDIS_URL);
await cancellations.subscribe(CANCELLED);
const worker = new Worker(QUEUE, work, {
  connection: { url: REDIS_URL, maxRetriesPerRequest: null },
  lockDuration: LOCK_MS,
  stalledInterval: LOCK_MS,
  maxStalledCount: DEATHS,
});
worker.on("error", (error) => console.error(error.message));
worker.on("stalled", (id) => console.log(`${id} lost its worker`));
worker.on("active", ({ id, name }) => console.log(`${id} ${name}`));
worker.on("failed", (job, { message }) => console.log(`${job?.id} failed: ${message}`));
worker.on("completed", ({ id }) => {
  console.log(`${id} completed`);
  rm(folder(id, "state"), { recursive: true, force: true }).catch(console.error);
});
worker.on("lockRenewalFailed", (ids) => ids.forEach((id) => worker.cancelJob(id, LOST)));
cancellations.on("message", (_channel, id) => worker.cancelJob(id, CANCEL));

for (const signal of ["SIGINT", "SIGTERM"])
  process.once(signal, async () => {
    const closed = worker.close();
    worker.cancelAllJobs(END);
    await closed;
    cancellations.disconnect();
    await jobs.close();
    model.dispose();
  });
await worker.waitUntilReady();
console.log("Ready");
