// Erases concepts over HTTP. PORT, HOST and MODEL (a checkpoint, or "pocket") come from the environment.
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import Fastify from "fastify";
import { StableDiffusion } from "kpop-native";
import { JobQueue } from "./job-queue.js";
import { registry } from "./metrics.js";

const CAPACITY = 16;
/** Proxies close connections that stay silent for a minute; that would cancel a job that waits. */
const HEARTBEAT_MS = 15_000;

const text = { type: "string", minLength: 1, maxLength: 200 };
const texts = { type: "array", items: text, minItems: 1, maxItems: 20, uniqueItems: true };
const integer = (minimum, maximum) => ({ type: "integer", minimum, maximum });
const atLeast0 = { type: "number", minimum: 0 };
const common = { preserve: texts, seed: integer(0, 2 ** 32 - 1) };
const training = {
  iterations: integer(1, 5000),
  learningRate: { type: "number", exclusiveMinimum: 0, maximum: 1 },
  poolSize: integer(1, 64),
  samplingSteps: integer(1, 100),
};

/** What a client may set: numbers and texts. Options that name files or folders are left out on purpose. */
const OPTIONS = {
  kpop: { ...common, ...training, neutral: text, lambda: atLeast0 },
  esd: { ...common, ...training, negativeGuidance: atLeast0 },
  uce: { ...common, guide: text },
};

const jobSchema = {
  type: "object",
  required: ["concepts", "method"],
  discriminator: { propertyName: "method" },
  oneOf: Object.entries(OPTIONS).map(([method, properties]) => ({
    additionalProperties: false,
    properties: {
      method: { const: method },
      concepts: texts,
      options: { type: "object", additionalProperties: false, properties },
    },
  })),
};
const idSchema = { type: "object", properties: { id: { type: "string", format: "uuid" } } };

const app = Fastify({
  bodyLimit: 64 * 1024,
  // A HEAD request for the events would count as a watcher that leaves.
  exposeHeadRoutes: false,
  // Wrong input is refused, not mended.
  ajv: { customOptions: { discriminator: true, removeAdditional: false, coerceTypes: false } },
});
const directory = await mkdtemp(join(tmpdir(), "kpop-jobs-"));
const model = await StableDiffusion.load(process.env.MODEL ?? "pocket");
const queue = new JobQueue(model, directory, CAPACITY);

app.addHook("preClose", () => queue.close());
app.addHook("onClose", async () => {
  model.dispose();
  await rm(directory, { recursive: true, force: true });
});

app.post("/jobs", { schema: { body: jobSchema } }, async ({ body }, reply) => {
  const { concepts, method, options } = body;
  const job = queue.add({ ...options, method, concepts });
  if (!job) return reply.code(503).send({ error: "The queue is full; delete jobs that are done" });
  return reply.code(202).header("location", `/jobs/${job.id}`).send({ id: job.id });
});

app.get("/metrics", async (_request, reply) => {
  reply.type(registry.contentType);
  return await registry.metrics();
});

app.register(async (routes) => {
  routes.decorateRequest("job", null);
  routes.addHook("preHandler", async (request, reply) => {
    request.job = queue.get(request.params.id);
    if (!request.job) return reply.code(404).send({ error: "There is no such job" });
  });

  routes.get("/jobs/:id/events", { schema: { params: idSchema } }, (request, reply) => {
    reply.type("text/event-stream").header("cache-control", "no-store");
    return reply.send(eventStream(request.job));
  });

  routes.get("/jobs/:id/model", { schema: { params: idSchema } }, async ({ job }, reply) => {
    if (!job.done) return reply.code(409).send({ error: "The job has no result" });
    const file = await open(job.file);
    const { size } = await file.stat();
    return reply
      .type("application/octet-stream")
      .header("content-length", size)
      .header("content-disposition", 'attachment; filename="model.safetensors"')
      .send(file.createReadStream());
  });

  routes.delete("/jobs/:id", { schema: { params: idSchema } }, async ({ job }, reply) => {
    await queue.remove(job);
    return reply.code(204).send();
  });
});

/** Server-sent events of a job from its beginning; the job is cancelled when its last watcher leaves before it ends. */
function eventStream(job) {
  const stream = new PassThrough();
  const heartbeat = setInterval(() => stream.writableEnded || stream.write(":\n\n"), HEARTBEAT_MS);
  const tell = (name, data) => {
    // A slow reader misses steps, so that they do not pile up.
    if (name === "step" && stream.writableNeedDrain) return;
    stream.write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
    if (name === "done" || name === "error") stream.end();
  };
  stream.write(":\n\n");
  job.on("event", tell);
  // Fastify destroys the stream when the client goes.
  stream.once("close", () => {
    clearInterval(heartbeat);
    job.off("event", tell);
    if (job.listenerCount("event") === 0) job.cancel();
  });
  for (const [name, data] of job.past) tell(name, data);
  return stream;
}

for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => app.close());
const address = await app.listen({
  host: process.env.HOST ?? "127.0.0.1",
  port: Number(process.env.PORT ?? 3000),
});
console.log(`Listening on ${address}`);
