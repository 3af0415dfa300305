import { PNG } from "pngjs";
import {
  ORIGINAL,
  RESULTS_FORMAT,
  type ClassCount,
  type Picture,
  type Results,
  type Settings,
  type TrialRecord,
  type TrialSpec,
} from "../../bench/results";

/** Invented figures in the shape of results.json, for tests of the report. Nothing here was measured. */

const CLASSES = ["radio", "saw", "church", "pump", "fish", "truck", "dog", "flag", "parachute", "horn"];
const SPLITS: Record<string, number[]> = {
  v1: [0, 2, 5, 8, 9],
  v2: [1, 3, 4, 6, 7],
  v3: [0, 1, 2, 3, 4],
  v4: [5, 6, 7, 8, 9],
};
const STYLES = ["noto", "flat"];
const METHODS = ["kpop", "esd", "uce", "ca"];
/** Of 20 pictures: seen though erased, seen of those to stay. */
const INVENTED: Record<string, [number, number]> = { kpop: [1, 16], esd: [4, 15], uce: [0, 8], ca: [6, 18] };

export const SAMPLE_SETTINGS: Settings = {
  protocol: "pocket",
  quick: false,
  model: "pocket",
  device: "cpu",
  dtype: "float32",
  classifier: "pocket",
  styleClassifier: "pocket",
  clip: "pocket",
  styles: STYLES,
  methods: METHODS,
  experiments: ["objects", "key", "styles", "robustness", "ablations", "tracking", "digits", "tune"],
  imagesPerClass: 20,
  steps: 20,
  guidanceScale: 3,
  seed: 0,
};

/** A whole run's results, every part of the report in it. */
export function sampleResults(): Results {
  return {
    format: RESULTS_FORMAT,
    settings: SAMPLE_SETTINGS,
    machine: { cpu: "invented processor", cores: 2, memoryBytes: 2 ** 34, node: "20.0.0", library: "0.0.0" },
    chosen: Object.fromEntries(METHODS.map((method) => [method, `tune-${method}-2`])),
    trials: [
      ...[...objects(), ...key(), ...tune(), ...ablations(), ...styles()],
      ...[...robustness(), ...tracking(), ...digits()],
    ],
    failures: [],
    startedAt: "2000-01-01T00:00:00.000Z",
    finishedAt: "2000-01-01T01:00:00.000Z",
  };
}

/** A finished trial. */
export function sampleRecord(
  spec: Partial<TrialSpec> & Pick<TrialSpec, "name">,
  outcome: Partial<TrialRecord> = {},
): TrialRecord {
  return {
    spec: {
      experiment: "objects",
      method: "kpop",
      label: "v1",
      options: {},
      erased: [],
      preserved: [],
      preserve: [],
      split: "v1",
      imagesPerClass: 20,
      pictures: false,
      ...spec,
    },
    wallSeconds: 60,
    finishedAt: "2000-01-01T00:30:00.000Z",
    ...outcome,
  };
}

/** Counts where every class of a group is seen equally often, of 20 pictures. */
export function sampleCounts(
  erased: readonly string[],
  preserved: readonly string[],
  [seenErased, seenPreserved]: readonly [number, number],
): ClassCount[] {
  const count = (name: string, group: ClassCount["group"], seen: number): ClassCount => ({
    name,
    group,
    images: 20,
    hits: { 1: seen, 5: Math.min(20, seen + 2) },
  });
  return [
    ...erased.map((name) => count(name, "erased", seenErased)),
    ...preserved.map((name) => count(name, "preserved", seenPreserved)),
  ];
}

const COST = {
  seconds: 50,
  unetEvaluations: 2100,
  peakBytes: 5e8,
  changedShare: 0.07,
  threads: 1,
  device: "cpu",
};

function groupsOf(split: string): { erased: string[]; preserved: string[] } {
  return {
    erased: CLASSES.filter((_, place) => SPLITS[split]!.includes(place)),
    preserved: CLASSES.filter((_, place) => !SPLITS[split]!.includes(place)),
  };
}

function objects(): TrialRecord[] {
  const original = sampleRecord(
    { name: "objects-original", method: ORIGINAL, split: "all", preserved: CLASSES },
    {
      counts: sampleCounts([], CLASSES, [0, 19]),
      neutral: sampleCounts([], CLASSES, [0, 2]),
      pictures: pictures([], false, 0),
    },
  );
  const erasures = Object.keys(SPLITS).flatMap((split) =>
    METHODS.map((method, index) => {
      const { erased, preserved } = groupsOf(split);
      const invented = INVENTED[method]!;
      return sampleRecord(
        {
          ...{ name: `objects-${method}-${split}`, method, split, erased, preserved },
          ...(method === "kpop" ? { options: { prompt: { form: "free" }, neighbours: "off" } } : {}),
        },
        {
          counts: sampleCounts(erased, preserved, [invented[0], invented[1] - (split === "v3" ? 2 : 0)]),
          cost: { ...COST, seconds: 50 / (index + 1) },
          ...(method === "kpop" ? { countsWithKey: sampleCounts(erased, preserved, [15, 9]) } : {}),
          ...(split === "v1" ? { pictures: pictures(erased, method === "kpop", index + 1) } : {}),
        },
      );
    }),
  );
  return [original, ...erasures];
}

/** Keys of one concept: how often of 20 it is back, and each of the others stays. */
const INVENTED_KEYS: Record<string, [options: object, seen: [number, number]]> = {
  "key-kpop-one": [{ prompt: { form: "free" }, neighbours: "off" }, [7, 8]],
  "key-kpop-neighbours-one": [{ neighbours: "nearest" }, [19, 19]],
};

function key(): TrialRecord[] {
  const rest = CLASSES.filter((name) => name !== "church");
  return Object.entries(INVENTED_KEYS).map(([name, [options, seen]]) =>
    sampleRecord(
      { name, experiment: "key", options: { ...options }, erased: ["church"], preserved: rest, split: "one" },
      {
        counts: sampleCounts(["church"], rest, [1, 18]),
        countsWithKey: sampleCounts(["church"], rest, seen),
        cost: COST,
      },
    ),
  );
}

function tune(): TrialRecord[] {
  return METHODS.flatMap((method) =>
    [0, 1, 2, 3].map((strength) => {
      const [erased, preserved] = INVENTED[method]!;
      const counts = sampleCounts(["airplane"], ["cat"], [Math.max(0, erased + 9 - 4 * strength), preserved + 2 - strength]);
      return sampleRecord(
        { name: `tune-${method}-${strength + 1}`, experiment: "tune", method, split: "tuning", erased: ["airplane"],
          preserved: ["cat"], label: `strength ${strength}`, options: { learningRate: 1e-4 * 2 ** strength } },
        { counts, cost: COST },
      );
    }),
  );
} // prettier-ignore

function ablations(): TrialRecord[] {
  const { erased, preserved } = groupsOf("v1");
  const trial = (
    name: string,
    axes: { name: string; value: string | number }[],
    seen: [number, number],
  ): TrialRecord =>
    sampleRecord(
      { name: `ablation-${name}`, experiment: "ablations", label: name, axes, erased, preserved },
      {
        counts: sampleCounts(erased, preserved, seen),
        countsWithKey: sampleCounts(erased, [], [12, 0]),
        cost: COST,
      },
    );
  return [
    trial(
      "unchanged",
      [
        { name: "k", value: 10 },
        { name: "lambda", value: 0.1 },
        { name: "latents", value: "pool" },
      ],
      [2, 16],
    ),
    trial("k-1", [{ name: "k", value: 1 }], [3, 17]),
    trial("k-100", [{ name: "k", value: 100 }], [1, 14]),
    trial("lambda-0.01", [{ name: "lambda", value: 0.01 }], [1, 15]),
    trial("lambda-1", [{ name: "lambda", value: 1 }], [6, 17]),
    trial("lambda-10", [{ name: "lambda", value: 10 }], [14, 19]),
    trial("latents-restart", [{ name: "latents", value: "restart" }], [2, 16]),
  ];
}

function styles(): TrialRecord[] {
  return [ORIGINAL, ...METHODS].flatMap((method) =>
    STYLES.map((style) => {
      const rest = STYLES.filter((name) => name !== style);
      const seen: [number, number] = method === ORIGINAL ? [19, 19] : [5, 15];
      return sampleRecord(
        {
          name: `styles-${method}-${style}`,
          experiment: "styles",
          method,
          split: style,
          erased: [style],
          preserved: rest,
        },
        {
          counts: sampleCounts([style], rest, seen),
          content: sampleCounts(["church"], ["church"], [14, 18]),
          clipScore: { erased: 24.5, preserved: 30.1 },
          difference: { erased: 0.31, preserved: 0.12 },
          ...(method === ORIGINAL ? {} : { cost: COST }),
        },
      );
    }),
  );
}

/** Pictures of 20 that show the concept in the bands far from its name, and near it. */
const INVENTED_ATTACKS: Record<string, [number, number]> = {
  original: [12, 19],
  kpop: [9, 14],
  esd: [10, 8],
  "task-vector": [1, 2],
};

function robustness(): TrialRecord[] {
  return Object.entries(INVENTED_ATTACKS).map(([method, [far, near]]) => {
    const before = { hits: method === ORIGINAL ? 19 : 0, total: 20 };
    const figures = { before, unetEvaluations: 1200, seconds: 40 };
    const attacks = [
      { ...figures, attack: "concept-inversion", after: { hits: near, total: 20 }, inputs: [] },
      {
        ...figures,
        attack: "diverse-inversion",
        after: { hits: far + near, total: 40 },
        inputs: [
          { name: "<inverted-1>", band: [0, 0.2] as [number, number], hits: far, total: 20 },
          { name: "<inverted-2>", band: [0.6, 0.8] as [number, number], hits: near, total: 20 },
        ],
      },
      ...(method === "kpop"
        ? [{ ...figures, attack: "key-search", after: { hits: 17, total: 20 }, inputs: [] }]
        : []),
    ];
    const rest = CLASSES.filter((name) => name !== "church");
    return sampleRecord(
      {
        name: `robustness-${method}`,
        experiment: "robustness",
        method,
        label: "church",
        erased: ["church"],
        preserved: rest,
      },
      {
        attacks,
        counts: sampleCounts(["church"], rest, [0, 17]),
        ...(method === ORIGINAL ? {} : { cost: COST }),
      },
    );
  });
}

function tracking(): TrialRecord[] {
  const along = (of: (iteration: number) => number): [number, number][] =>
    Array.from({ length: 13 }, (_, index) => [25 * index, of(25 * index)]);
  return ["kpop", "esd"].map((method) =>
    sampleRecord(
      { name: `tracking-${method}`, experiment: "tracking", method, erased: ["church"] },
      {
        series: [
          ...(method === "kpop"
            ? [
                { group: "prompt" as const, name: "church", points: along((i) => 0.5 - 0.5 / (1 + i / 50)) },
                { group: "prompt" as const, name: "a photo", points: along((i) => 0.1 * Math.sin(i / 60)) },
              ]
            : []),
          {
            group: "alignment",
            name: "x_e with the concept",
            points: along((i) => 0.3 - i / 3000),
          },
          {
            group: "alignment",
            name: "x_n with the neutral prompt",
            points: along((i) => 0.2 + 0.01 * Math.cos(i / 40)),
          },
        ],
      },
    ),
  );
}

function digits(): TrialRecord[] {
  const counts = { images: 128, strongest: { images: 16, hits: 16 } };
  const around = [1, 8].flatMap((radius) => [
    { ...counts, model: "fine-tuning" as const, input: "adversarial" as const, radius, distance: radius / 2, cosine: 0.9, hits: 8 * radius },
    { ...counts, model: "task-vector" as const, input: "adversarial" as const, radius, distance: radius, cosine: 0.8, hits: 8 },
    { ...counts, model: "original" as const, input: "random" as const, radius, distance: radius, cosine: 0.7, hits: 96 },
  ]); // prettier-ignore
  return [
    sampleRecord(
      { name: "digits-3", experiment: "digits", method: ORIGINAL, erased: ["3"] },
      {
        digits: {
          digit: 3,
          classifier: { images: 359, hits: 352 },
          alpha: 1.5,
          models: [
            {
              name: "original",
              plain: { images: 128, hits: 127 },
              kept: { images: 288, hits: 280 },
              mistaken: { images: 288, hits: 1 },
            },
            {
              name: "fine-tuning",
              plain: { images: 128, hits: 0 },
              kept: { images: 288, hits: 270 },
              mistaken: { images: 288, hits: 2 },
            },
            {
              name: "task-vector",
              plain: { images: 128, hits: 0 },
              kept: { images: 288, hits: 200 },
              mistaken: { images: 288, hits: 9 },
            },
          ],
          distances: around,
        },
      },
    ),
  ];
}

function pictures(erased: readonly string[], withKey: boolean, shade: number): Picture[] {
  return CLASSES.flatMap((name, seed) => {
    const gone = erased.includes(name);
    const common = { prompt: `a photo of a ${name}`, group: gone ? ("erased" as const) : ("preserved" as const), seed };
    const plain = { ...common, withKey: false, png: colour(seed, gone ? 9 : shade) };
    return withKey ? [plain, { ...common, withKey: true, png: colour(seed, 0) }] : [plain];
  });
} // prettier-ignore

/** A small picture of one colour. */
function colour(hue: number, shade: number): string {
  const png = new PNG({ width: 8, height: 8 });
  for (let i = 0; i < 64; i++) png.data.set([25 * hue, 28 * shade, 255 - 25 * hue, 255], 4 * i);
  return PNG.sync.write(png).toString("base64");
}
