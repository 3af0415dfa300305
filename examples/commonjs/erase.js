// Erases a concept into a single file, as WebUI and ComfyUI load it, and draws from the files alone.
const { join } = require("node:path");
const { parseArgs } = require("node:util");
const { erase, KpopError, PromptKey, StableDiffusion } = require("kpop-native");

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "pocket" },
    concept: { type: "string", default: "church" },
    options: { type: "string", default: '{ "iterations": 500 }' },
    steps: { type: "string", default: "25" },
    out: { type: "string", default: "out" },
  },
});

/** The model goes to anyone; the key, encrypted, stays with those who may bring the concept back. */
async function sanitise({ model, concept, options, out }, passphrase) {
  const erasure = await erase(model, { ...JSON.parse(options), concepts: concept });
  await erasure.save(join(out, "model"), { format: "single-file", force: true });
  await erasure.key.save(join(out, "key.safetensors"), { passphrase });
  erasure.dispose();
}

async function draw({ concept, steps, out }, passphrase) {
  const model = await StableDiffusion.load(join(out, "model", "model.safetensors"));
  const key = await PromptKey.load(join(out, "key.safetensors"), { passphrase });
  const prompt = `a photo of a ${concept}`;
  const drawing = { seed: 7, steps: Number(steps) };
  const [gone] = await model.generate(prompt, drawing);
  const [back] = await model.generate(prompt, { ...drawing, key });
  await gone.save(join(out, "gone.png"));
  await back.save(join(out, "back.png"));
  key.dispose();
  model.dispose();
}

async function main() {
  const passphrase = process.env.KEY_PASSPHRASE;
  if (!passphrase) {
    console.error("Set KEY_PASSPHRASE to what the key is to be encrypted with");
    process.exitCode = 2;
    return;
  }
  await sanitise(values, passphrase);
  await draw(values, passphrase);
}

main().catch((error) => {
  console.error(error instanceof KpopError ? `${error.code}: ${error.message}` : error);
  process.exitCode = 1;
});
