// client.js add JSON [--watch] | watch ID | cancel ID: what a program that uses the queue does, one JSON object a line.
import { QueueEvents } from "bullmq";
import { Jobs, QUEUE, REDIS_URL } from "./jobs.js";

const print = (line) => console.log(JSON.stringify(line));

/** Prints a job's progress and its end. */
async function watch(id) {
  const events = new QueueEvents(QUEUE, { connection: { url: REDIS_URL } });
  try {
    await events.waitUntilReady();
    events.on("progress", ({ jobId, data }) => jobId === id && print({ progress: data }));
    const job = await jobs.get(id);
    if (!job) throw new Error(`There is no job ${id}`);
    print({ completed: await job.waitUntilFinished(events) });
  } catch ({ message }) {
    print({ failed: message });
    process.exitCode = 1;
  } finally {
    await events.close();
  }
}

const COMMANDS = {
  async add(json, flag) {
    const ids = await jobs.add(JSON.parse(json));
    print({ added: ids });
    if (flag === "--watch") await watch(ids.evaluate ?? ids.erase);
  },
  watch,
  cancel: (id) => jobs.cancel(id),
};

const [command, ...args] = process.argv.slice(2);
const jobs = new Jobs();
await COMMANDS[command](...args);
await jobs.close();
