// save-without-space.mjs MODEL FOLDER: tries to save into a folder with little space in every way there is; the code
// of each failure, and what was left in the folder.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { erase, Image, PromptKey, Random, safetensors, StableDiffusion } from "../../../dist/index.js";

const [path, folder] = process.argv.slice(2);
const model = await StableDiffusion.load(path, { device: "cpu" });
const options = { concepts: "church", iterations: 1, poolSize: 1, samplingSteps: 2 };
const erasure = await erase(model, { ...options, parameters: "full" });
const prompt = new Random(1).normal([8192, 32]);
const key = new PromptKey({ prompt, mechanism: "concat", layers: "mid", concepts: ["church"] });
const noise = new Uint8Array(
  Buffer.from(await new Random(2).normal([1024 * 768]).bytes()).subarray(0, 1024 ** 2 * 3),
);
const into = (name) => join(folder, name);

const ways = {
  diffusers: () => erasure.save(into("model")),
  "single-file": () => erasure.save(into("model"), { format: "single-file" }),
  delta: () => erasure.save(into("model"), { format: "delta" }),
  model: () => model.save(into("model.safetensors"), { format: "single-file" }),
  key: () => key.save(into("key.safetensors")),
  "locked key": () => key.save(into("key.safetensors"), { passphrase: "p" }),
  tensors: () => safetensors.save(into("tensors.safetensors"), { prompt }),
  picture: () => new Image(1024, 1024, noise).save(into("picture.png")),
  state: () => erase(model, { ...options, parameters: "full", checkpoint: { directory: folder, every: 1 } }),
};
const outcome = {};
for (const [name, save] of Object.entries(ways)) {
  const code = await save().then(
    () => "saved",
    (error) => error.code,
  );
  outcome[name] = [code, readdirSync(folder)];
}
console.log(JSON.stringify(outcome));
