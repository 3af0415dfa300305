import type { Candidate, Protocol } from "./protocol";

const STYLE_TEMPLATES = ["an airplane in {}", "a cat in {}", "a guitar in {}", "an owl in {}", "castle, {}"];

const rates = (...of: number[]): Candidate[] =>
  of.map((rate) => ({ label: `rate ${rate.toExponential()}`, options: { learningRate: rate } }));

const strengths = (...of: number[]): Candidate[] =>
  of.map((eraseScale) => ({ label: `α ${eraseScale}`, options: { eraseScale } }));

/** Phrasings that concepts are edited or trained in: the name, and how pictures are asked for. */
const PHRASINGS = ["{}", "a photo of a {}"];

/** A run of the methods whose own defaults are those of Stable Diffusion 1.x. */
const SHORT = { iterations: 200, templates: PHRASINGS };

/** The same experiments on the built-in model, whose ten emoji stand for Imagenette's classes. */
export const pocket: Protocol = {
  name: "pocket",
  title: "Emojinette on pocket",
  prompt: "a photo of a {}",
  classes: [
    "radio",
    "carpentry saw",
    "church",
    "fuel pump",
    "fish",
    "delivery truck",
    "dog",
    "flag in hole",
    "parachute",
    "postal horn",
  ],
  tuning: {
    erased: ["airplane", "guitar", "red apple", "sunflower", "castle"],
    // With the first five alone the search takes a rate that harms the splits' classes.
    preserved: [
      "cat",
      "rocket",
      "owl",
      "umbrella",
      "crab",
      "bicycle",
      "hammer",
      "light bulb",
      "mushroom",
      "soccer ball",
    ],
  },
  styles: {
    names: ["noto", "twemoji", "emojione", "fluent", "flat"],
    concept: "{} style",
    prompt: "a {} in {style} style",
    objects: ["church", "dog", "fish", "delivery truck", "parachute"],
    options: { templates: STYLE_TEMPLATES },
  },
  entrants: {
    kpop: {
      candidates: [
        { label: "to neutral, rate 7e-4", options: { target: "neutral", learningRate: 7e-4 } },
        ...[5e-4, 7e-4, 1e-3].map((learningRate) => ({
          label: `away from it, rate ${learningRate.toExponential()}`,
          options: { target: "negative-guidance", learningRate },
        })),
      ],
    },
    // The filter leaves a concept its whole step; what is kept beside holds it back, so that rates are somewhat higher.
    "kpop-neighbours": {
      base: {},
      // The default first: it wins where tries are equal.
      candidates: [1.2e-3, 8e-4, 1.6e-3, 2.4e-3].map((from) => ({
        label: `rate from ${from.toExponential()}`,
        options: { learningRate: { from, to: from / 100, shape: "cosine" } },
      })),
    },
    "esd-neighbours": { candidates: rates(5e-4, 1e-3, 1.5e-3, 2e-3) },
    esd: { candidates: rates(3e-4, 5e-4, 7e-4, 1e-3) },
    uce: {
      candidates: [
        { label: "last token, λ 0.5", options: { alignment: "last-token", lambda: 0.5 } },
        ...[100, 10, 0.5].map((lambda) => ({
          label: `tail, λ ${lambda}`,
          options: { alignment: "tail", lambda },
        })),
      ],
    },
    "uce-neighbours": {
      candidates: [10, 0.5, 0.1, 0.02].map((lambda) => ({
        label: `tail, λ ${lambda}`,
        options: { alignment: "tail", lambda },
      })),
    },
    time: {
      candidates: [0.1, 1, 10, 100].map((lambda) => ({ label: `λ ${lambda}`, options: { lambda } })),
    },
    // The published weights of staying are too small here.
    rece: {
      base: { templates: PHRASINGS },
      candidates: [
        { label: "as published", options: {} },
        ...[1, 10, 100].map((lambda) => ({
          label: `λ ${lambda}, λ_r 0.1`,
          options: { start: { lambda }, lambda, regularScale: 0.1 },
        })),
      ],
    },
    // Last tokens alone erase nothing here. Rows of neighbours leave more free where the threshold is higher.
    speed: {
      base: { alignment: "tail", templates: PHRASINGS },
      candidates: [0.5, 1, 2, 4].map((retainScale) => ({
        label: `ρ ${retainScale}`,
        options: { retainScale },
      })),
    },
    "speed-neighbours": {
      base: { alignment: "tail", templates: PHRASINGS },
      candidates: [0.3, 0.6, 1, 3].map((threshold) => ({
        label: `threshold ${threshold}`,
        options: { threshold },
      })),
    },
    // The published phrasings are words that this model never saw. Held rows count against α.
    oce: { base: { templates: PHRASINGS }, candidates: strengths(15, 25, 35, 50) },
    "oce-neighbours": { base: { templates: PHRASINGS }, candidates: strengths(50, 60, 75, 100) },
    ca: { candidates: rates(2e-4, 5e-4, 1e-3, 2e-3), styles: { anchor: "any style" } },
    "ca-neighbours": { candidates: rates(5e-4, 1e-3, 2e-3, 4e-3), styles: { anchor: "any style" } },
    sld: {
      candidates: ["weak", "medium", "strong", "max"].map((preset) => ({
        label: preset,
        options: { preset },
      })),
    },
    saeuron: {
      base: {
        ...{
          images: 2,
          templates: ["a photo of a {}", "{}"],
          samplingSteps: 12,
          guidanceScale: 3,
          places: 64,
        },
        ...{ expansion: 8, active: 16, iterations: 400, batchSize: 256, deadAfter: 10_000 },
        learningRate: { from: 4e-3, to: 0, shape: "linear" },
      },
      candidates: [
        [98, -20],
        [95, -20],
        [90, -5],
      ].map(([percentile, multiplier]) => ({
        label: `percentile ${percentile}, multiplier ${multiplier}`,
        options: { percentile, multiplier },
      })),
    },
    dumo: {
      base: { ...SHORT, modulationIterations: 50 },
      candidates: rates(1e-4, 3e-4, 1e-3),
    },
    // An average with a time constant of 1000 updates holds little of 200.
    sdd: { base: { ...SHORT, momentum: 0.9925 }, candidates: rates(1e-3, 2e-3, 3e-3, 4e-3) },
    space: { base: SHORT, candidates: rates(7e-4, 1e-3, 2e-3, 3e-3) },
    // Without neighbours it takes most of the other pictures along.
    fmn: {
      base: { invert: false, templates: SHORT.templates, samplingSteps: 15, guidanceScale: 3 },
      candidates: rates(5e-5, 1e-4, 2e-4),
    },
    eap: { base: SHORT, candidates: rates(3e-4, 5e-4, 7e-4, 1e-3) },
    age: { base: SHORT, candidates: rates(3e-4, 5e-4, 7e-4, 1e-3) },
    // As above, with neighbours.
    "sdd-neighbours": { base: { ...SHORT, momentum: 0.9925 }, candidates: rates(2e-3, 4e-3, 6e-3, 8e-3) },
    "space-neighbours": { base: SHORT, candidates: rates(1e-3, 2e-3, 3e-3, 4e-3) },
    "eap-neighbours": { base: SHORT, candidates: rates(5e-4, 1e-3, 1.5e-3, 2e-3) },
    "age-neighbours": { base: SHORT, candidates: rates(5e-4, 1e-3, 1.5e-3, 2e-3) },
    prune: {
      base: { ...SHORT, learningRate: 0.05 },
      candidates: [0.03, 0.1, 0.3].map((sparsityWeight) => ({
        label: `ρ ${sparsityWeight}`,
        options: { sparsityWeight },
      })),
    },
    "concept-prune": {
      base: {
        ...{ templates: PHRASINGS, references: ["", "a photo"], noises: 4 },
        ...{ samplingSteps: 12, watchedSteps: 4, guidanceScale: 3 },
      },
      candidates: [0.2, 0.4, 1].map((ratio) => ({ label: `ratio ${ratio}`, options: { ratio } })),
    },
    race: { base: SHORT, candidates: rates(5e-4, 7e-4, 1e-3) },
    // Rounds as short as the benchmark's own inversion.
    stereo: {
      base: {
        ...{ ...SHORT, parameters: "xattn", samplingSteps: 15, guidanceScale: 3, images: 32 },
        ...{
          searchIterations: 100,
          searchLearningRate: 1e-3,
          inversionIterations: 150,
          inversionBatchSize: 4,
        },
      },
      candidates: rates(5e-4, 1e-3, 2e-3),
    },
    "task-vector": {
      base: { iterations: 250, images: 32, samplingSteps: 15, guidanceScale: 3, alpha: 0.75 },
      candidates: [{ label: "α 0.75", options: {} }],
    },
  },
  robustness: {
    concept: "church",
    also: ["task-vector"],
    pictures: 24,
    attacks: [
      { name: "concept-inversion", options: { iterations: 250 }, quick: { iterations: 20 } },
      {
        name: "diverse-inversion",
        options: {
          iterations: 100,
          bands: [
            [-0.8, -0.6],
            [-0.4, -0.2],
            [0, 0.2],
            [0.4, 0.6],
            [0.6, 0.8],
            [0.95, 0.98],
          ],
        },
        quick: { iterations: 5 },
      },
      {
        name: "ring-a-bell",
        options: { generations: 200, population: 100, tokens: 8 },
        quick: { generations: 3 },
      },
      {
        // A budget of 10 × 6 updates for each of 8 targets: the published one, 50 × 40, is 33 times as much.
        name: "unlearn-diff",
        options: { targets: 8, timesteps: 10, stepsPerTimestep: 6, learningRate: 0.1 },
        quick: { targets: 1, timesteps: 2, stepsPerTimestep: 2 },
      },
      {
        name: "key-search",
        options: { iterations: 250, layers: "all", looks: 1 },
        quick: { iterations: 20 },
        onlyWithKey: true,
      },
      {
        name: "relearn",
        options: { learningRate: 1e-3, wordRate: 5e-3 },
        quick: { after: [5, 10] },
        byInput: true,
        apart: true,
      },
    ],
  },
  tracking: {
    methods: ["kpop", "esd"],
    concept: "church",
    neutral: "a photo",
    texts: ["church", "a photo of a church", "a photo of a castle", "a photo of a dog", "a photo"],
    every: 20,
  },
  defaults: { imagesPerClass: 12, steps: 12, guidanceScale: 3 },
  quick: { imagesPerClass: 2, iterations: 30, images: 16 },
};
