import type { Protocol } from "./protocol";

/** ESD's trajectories as the published scripts make them. */
const PUBLISHED = { iterations: 1000, learningRate: 1e-5, latents: "restart", sampling: "compvis" };

/** The paper's protocol on Stable Diffusion 1.4, with the published options; 500 pictures a class, 100 steps. */
export const stableDiffusion: Protocol = {
  name: "stable-diffusion",
  title: "Imagenette on Stable Diffusion 1.4",
  prompt: "Image of {}",
  classes: [
    "cassette player",
    "chain saw",
    "church",
    "gas pump",
    "tench",
    "garbage truck",
    "English springer",
    "golf ball",
    "parachute",
    "French horn",
  ],
  tuning: null,
  styles: {
    names: ["Kelly McKernan", "Thomas Kinkade", "Tyler Edlin", "Kilian Eng", "Ajin: Demi Human"],
    concept: "{}",
    prompt: "{} by {style}",
    objects: ["a castle on a hill", "a portrait of a woman", "a forest at night", "a ship in a storm"],
  },
  entrants: {
    kpop: {
      base: PUBLISHED,
      candidates: [{ label: "published", options: { promptLearningRate: 1e-5, lambda: 0.1 } }],
    },
    esd: { base: PUBLISHED, candidates: [{ label: "published", options: {} }] },
    uce: { candidates: [{ label: "published", options: {} }] },
    ca: {
      base: { iterations: 100, images: 200, learningRate: 1.6e-5, batchSize: 8 },
      candidates: [{ label: "published", options: {} }],
    },
    sdd: { base: { latents: "restart" }, candidates: [{ label: "published", options: {} }] },
    eap: { base: PUBLISHED, candidates: [{ label: "published", options: {} }] },
    age: { base: PUBLISHED, candidates: [{ label: "published", options: {} }] },
    "concept-prune": { candidates: [{ label: "published", options: {} }] },
    race: { base: { ...PUBLISHED, iterations: 2000 }, candidates: [{ label: "published", options: {} }] },
    stereo: { base: { latents: "restart" }, candidates: [{ label: "released", options: {} }] },
    fmn: { candidates: [{ label: "published", options: {} }] },
    // Nothing is published but the idea.
    space: { candidates: [{ label: "defaults", options: {} }] },
    prune: { candidates: [{ label: "defaults", options: {} }] },
    // The same, with a rate for wider layers.
    "task-vector": {
      base: { learningRate: 1e-5, iterations: 1000 },
      candidates: [{ label: "α 1", options: { alpha: 1 } }],
    },
  },
  robustness: {
    concept: "church",
    also: ["task-vector"],
    pictures: 25,
    attacks: [
      {
        name: "concept-inversion",
        options: { iterations: 5000, learningRate: 0.08 },
        quick: { iterations: 20 },
      },
      { name: "diverse-inversion", options: {}, quick: { iterations: 5 } },
      { name: "ring-a-bell", options: {}, quick: { generations: 3 } },
      { name: "unlearn-diff", options: {}, quick: { targets: 1, timesteps: 2, stepsPerTimestep: 2 } },
      { name: "key-search", options: { looks: 1 }, quick: { iterations: 20 }, onlyWithKey: true },
      { name: "relearn", options: {}, quick: { after: [5, 10] }, byInput: true, apart: true },
    ],
  },
  tracking: {
    methods: ["kpop", "esd"],
    concept: "church",
    neutral: "a photo",
    texts: ["church", "a photo of a church", "a photo of a castle", "a photo"],
    every: 50,
  },
  defaults: { imagesPerClass: 500, steps: 100, guidanceScale: 7.5 },
  quick: { imagesPerClass: 10, iterations: 100, images: 20 },
};
