// Metrics for Prometheus, and a line of log for each operation, of what the library tells on its diagnostics channels.
import { subscribe, tracingChannel } from "node:diagnostics_channel";
import { Counter, Gauge, Histogram, Registry } from "prom-client";

export const registry = new Registry();
const registers = [registry];

const running = new Gauge({
  ...{ name: "kpop_operations_running", help: "Loads and erasures that run", labelNames: ["operation"] },
  registers,
});
const seconds = new Histogram({
  name: "kpop_operation_seconds",
  help: "How long loads and erasures took, by outcome: ok, or the code of the error",
  labelNames: ["operation", "outcome"],
  buckets: [1, 10, 60, 300, 1800, 3600],
  registers,
});
const steps = new Counter({
  ...{ name: "kpop_steps_total", help: "Iterations of erasures", labelNames: ["method"] },
  registers,
});

for (const operation of ["load", "erase"]) {
  const started = new WeakMap();
  const channel = tracingChannel(`kpop-native:${operation}`);
  channel.start.subscribe((message) => {
    started.set(message, performance.now());
    running.inc({ operation });
  });
  channel.asyncEnd.subscribe((message) => {
    const outcome = message.error ? (message.error.code ?? "INTERNAL") : "ok";
    const taken = (performance.now() - started.get(message)) / 1000;
    running.dec({ operation });
    seconds.observe({ operation, outcome }, taken);
    console.log(JSON.stringify({ operation, method: message.method, outcome, seconds: taken }));
  });
}
subscribe("kpop-native:step", ({ run }) => steps.inc({ method: run.method }));
