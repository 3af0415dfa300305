/** Erases a concept, writes the model and its key, and draws the concept without and with the key. */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { erase, KpopError, StableDiffusion, type KpopOptions, type StepReport } from "kpop-native";

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "pocket" },
    concept: { type: "string", default: "church" },
    options: { type: "string", default: '{ "iterations": 500 }' },
    steps: { type: "string", default: "25" },
    out: { type: "string", default: "out" },
  },
});

// Ctrl-C ends the erasure between two steps and leaves no half-written file.
const stop = new AbortController();
process.once("SIGINT", () => stop.abort());

function report({ iteration, iterations, losses, etaSeconds }: StepReport): void {
  const named = Object.entries(losses).map(([name, loss]) => `${name} ${loss.toFixed(5)}`);
  console.log(`${iteration}/${iterations}  ${named.join("  ")}  ${Math.ceil(etaSeconds)} s left`);
}

async function main({ model: path, concept, options, steps, out }: typeof values): Promise<void> {
  const model = await StableDiffusion.load(path, { signal: stop.signal });
  const erasure = await erase(model, {
    // Checked by the library, like everything that it is given.
    ...(JSON.parse(options) as Partial<KpopOptions>),
    concepts: concept,
    signal: stop.signal,
    onStep: report,
  });
  await erasure.save(join(out, "model"), { force: true });
  // The key brings the concept back: keep it where the model does not go.
  await erasure.key?.save(join(out, "key.safetensors"));

  const prompt = `a photo of a ${concept}`;
  const drawing = { seed: 7, steps: Number(steps), signal: stop.signal };
  const [gone] = await erasure.model.generate(prompt, drawing);
  const [back] = await erasure.model.generate(prompt, {
    ...drawing,
    ...(erasure.key && { key: erasure.key }),
  });
  await gone?.save(join(out, "gone.png"));
  await back?.save(join(out, "back.png"));
  erasure.dispose();
  model.dispose();
}

try {
  await main(values);
} catch (error) {
  if (!(error instanceof KpopError)) throw error;
  console.error(`${error.code}: ${error.message}`);
  process.exitCode = error.code === "ABORTED" ? 130 : 1;
}
