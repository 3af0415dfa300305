// erase-and-resume.mjs MODEL FOLDER ITERATIONS: erases with a state in FOLDER after every iteration, going on from the
// one that is there. A line for each iteration, with the milliseconds that it took, then what came out.
import { erase, StableDiffusion } from "../../../dist/index.js";
import { hashTensor, hashWeights } from "./hashes.mjs";

const [path, directory, iterations] = process.argv.slice(2);
let last = performance.now();
const model = await StableDiffusion.load(path, { device: "cpu" });
const erasure = await erase(model, {
  concepts: ["church", "dog"],
  preserve: ["a fish"],
  seed: 3,
  iterations: Number(iterations),
  batchSize: 2,
  poolSize: 3,
  samplingSteps: 10,
  learningRate: { from: 1e-4, to: 1e-5, shape: "cosine" },
  checkpoint: { directory, every: 1 },
  resume: true,
  onStep({ iteration }) {
    const now = performance.now();
    console.log(iteration, now - last);
    last = now;
  },
});
console.log(
  JSON.stringify({
    weights: await hashWeights(erasure.model.unet),
    prompt: await hashTensor(erasure.key.prompt),
    losses: erasure.history.map((report) => report.losses),
    evaluations: erasure.manifest.unetEvaluations,
  }),
);
