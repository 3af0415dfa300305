// erase.js [CONCEPT] [ITERATIONS]: erases from the built-in model, draws, and prints the spans of that, one a line.
import { trace } from "@opentelemetry/api";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { erase } from "kpop-native";
import "./spans.js";

const exporter = new InMemorySpanExporter();
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
trace.setGlobalTracerProvider(provider);

const [concepts = "church", iterations = 20] = process.argv.slice(2);
const erasure = await erase("pocket", { concepts, iterations: Number(iterations), poolSize: 4 });
await erasure.model.generate(`a photo of a ${concepts}`, { steps: 4 });
erasure.dispose();

for (const span of exporter.getFinishedSpans()) {
  const { name, attributes, events, duration, parentSpanContext } = span;
  const [seconds, nanoseconds] = duration;
  const ids = { id: span.spanContext().spanId, parent: parentSpanContext?.spanId };
  const told = { attributes, steps: events.map(({ attributes: step }) => step) };
  console.log(JSON.stringify({ name, ...ids, milliseconds: seconds * 1e3 + nanoseconds / 1e6, ...told }));
}
