// Makes spans of what kpop-native tells on its diagnostics channels. Import it before the work begins. It needs
// OpenTelemetry's API alone: where the program has set up no SDK, the spans go nowhere.
import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe, tracingChannel } from "node:diagnostics_channel";
import { SpanStatusCode, context, trace } from "@opentelemetry/api";

const OPERATIONS = ["load", "erase", "invert", "attack", "generate", "evaluate"];
/** Texts of users, which may be personal data: they stay here. */
const PRIVATE = ["prompts", "concepts", "concept", "erased", "preserved"];

const tracer = trace.getTracer("kpop-native");
const spans = new WeakMap();
/** The span of the operation that the running code is part of. */
const current = new AsyncLocalStorage();

for (const operation of OPERATIONS) {
  const channel = tracingChannel(`kpop-native:${operation}`);
  channel.start.bindStore(current, (message) => {
    const outer = current.getStore();
    const around = outer ? trace.setSpan(context.active(), outer) : context.active();
    const span = tracer.startSpan(`kpop ${operation}`, { attributes: attributes(message) }, around);
    spans.set(message, span);
    return span;
  });
  channel.asyncEnd.subscribe((message) => {
    const span = spans.get(message);
    span.setAttributes(attributes(message.result ?? {}));
    if (message.error) {
      span.recordException(message.error);
      span.setAttribute("error.type", message.error.code ?? message.error.name);
      span.setStatus({ code: SpanStatusCode.ERROR });
    }
    span.end();
  });
}

subscribe("kpop-native:step", ({ run, iteration, losses }) => {
  const values = Object.entries(losses).map(([name, value]) => [`kpop.loss.${name}`, value]);
  spans.get(run)?.addEvent("step", { "kpop.iteration": iteration, ...Object.fromEntries(values) });
});

/** Numbers and texts of a message; an object of rates by k gives one for each. */
function attributes(message, prefix = "kpop") {
  return Object.fromEntries(
    Object.entries(message).flatMap(([name, value]) => {
      if (PRIVATE.includes(name) || name === "result" || name === "error") return [];
      if (typeof value === "object") return Object.entries(attributes(value, `${prefix}.${name}`));
      return [[`${prefix}.${name}`, value]];
    }),
  );
}
