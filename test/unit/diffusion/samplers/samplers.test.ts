import {
  NoiseSchedule,
  STABLE_DIFFUSION_SCHEDULE,
  type TimestepSpacing,
} from "../../../../lib/diffusion/noise-schedule";
import type { SamplerRun } from "../../../../lib/diffusion/samplers";
import { SAMPLER_NAMES, sampler, samplerOfConfig } from "../../../../lib/diffusion/samplers";
import { ddimCoefficients } from "../../../../lib/diffusion/samplers/ddim";
import reference from "../../../fixtures/samplers/reference.json";
import { Vector } from "../../../support/vector";

const schedule = new NoiseSchedule();
const spaced = (timestepSpacing: TimestepSpacing) =>
  new NoiseSchedule({ ...STABLE_DIFFUSION_SCHEDULE, timestepSpacing });
const leading = spaced("leading");
const STOCK_TOLERANCE = 2e-6;
const J = [0, 1, 2, 3, 4];

/** The closed-form network of test/fixtures/samplers/make.py. */
function sample(run: SamplerRun<Vector>): Vector {
  let z = new Vector(J.map((j) => Math.cos(3 * j))).mul(run.initialScale);
  run.timesteps.forEach((t, index) => {
    const seen = run.scaleInput(index, z);
    const noise = new Vector(seen.values.map((v, j) => Math.tanh(v) / 2 + Math.sin(t / 100 + j)));
    const random = run.stochastic ? new Vector(J.map((j) => Math.cos(index + 2 * j))) : undefined;
    z = run.step(index, z, noise, random);
  });
  return z;
}

function relativeError(actual: readonly number[], expected: readonly number[]): number {
  const scale = Math.max(...expected.map(Math.abs));
  return Math.max(...actual.map((value, i) => Math.abs(value - expected[i]!))) / scale;
}

describe("sampler timesteps", () => {
  it.each(["ddim", "pndm", "euler"] as const)("equals diffusers' lists for %s", (name) => {
    const lists = reference.timesteps[name === "euler" ? "ddim" : name];
    expect(reference.eulerEqualsDdim).toBe(true);
    for (const [steps, list] of Object.entries(lists))
      expect(sampler(name).timesteps(leading, Number(steps))).toEqual(list);
  });

  it.each(["ddim", "pndm"] as const)("equals diffusers' lists for %s without an offset", (name) => {
    const plain = new NoiseSchedule({ ...STABLE_DIFFUSION_SCHEDULE, stepsOffset: 0 });
    for (const [steps, list] of Object.entries(reference.timestepsOffset0[name]))
      expect(sampler(name).timesteps(plain, Number(steps))).toEqual(list);
  });

  it("evaluates the second timestep of PNDM twice", () => {
    const twelve = sampler("pndm").timesteps(schedule, 12);
    expect(twelve.slice(0, 4)).toEqual([914, 831, 831, 748]);
    expect([1, 2, 12, 50].map((steps) => sampler("pndm").timesteps(schedule, steps).length)).toEqual([
      1, 3, 13, 51,
    ]);
  });

  it.each(SAMPLER_NAMES)("refuses step counts that the schedule of %s lacks", (name) => {
    const code = expect.objectContaining({ code: "INVALID_ARGUMENT" }) as Error;
    for (const own of [leading, spaced("linspace"), spaced("trailing")])
      for (const steps of [0, -1, 1.5, 1001, NaN, "50" as unknown as number]) {
        expect(() => sampler(name).timesteps(own, steps)).toThrow(code);
        expect(() => sampler(name).create(own, steps)).toThrow(code);
      }
  });

  it("says which step leaves the schedule, and which would be taken twice", () => {
    for (const name of ["ddim", "pndm", "euler", "euler-ancestral", "heun"])
      expect(() => sampler(name).timesteps(leading, 1000)).toThrow(/would start at timestep 1000/);
    expect(() => sampler("dpmpp-2m").timesteps(leading, 999)).toThrow(/would start at timestep 1000 of 1000/);
    expect(sampler("dpmpp-2m").timesteps(leading, 998)[0]).toBe(999);
    for (const own of [leading, spaced("linspace")])
      expect(() => sampler("dpmpp-2m").timesteps(own, 1000)).toThrow(/two at one timestep/);
    expect(new Set(sampler("dpmpp-2m").timesteps(spaced("linspace"), 999)).size).toBe(999);
    expect(() => sampler("lcm").timesteps(schedule, 51)).toThrow(/at most 50 .* distilled/);
    const distilled = new NoiseSchedule({ ...STABLE_DIFFUSION_SCHEDULE, lcmOriginalSteps: 100 });
    expect(sampler("lcm").timesteps(distilled, 100)[0]).toBe(999);
  });

  it.each(SAMPLER_NAMES.filter((name) => name !== "lcm"))(
    "of %s are as many as were asked for, within the schedule, in every spacing",
    (name) => {
      const evaluations = (steps: number): number =>
        name === "pndm" ? steps + 1 : name === "heun" ? 2 * steps - 1 : steps;
      // At 61 steps diffusers' trailing list has a 62nd entry, -1: 1000 / 61 is no exact float.
      for (const spacing of ["linspace", "trailing"] as const)
        for (const steps of [2, 61, 103, 999]) {
          const list = sampler(name).timesteps(spaced(spacing), steps);
          expect(list).toHaveLength(evaluations(steps));
          expect([list[0], Math.min(...list) >= 0]).toEqual([999, true]);
        }
    },
  );
});

describe("sampler runs", () => {
  it.each(
    reference.runs.map(
      (run) =>
        [`${run.sampler}, ${run.steps} steps, eta ${run.eta}, set_alpha_to_one ${run.one}`, run] as const,
    ),
  )("ends where diffusers does: %s", (_, { sampler: name, steps, one, eta, ...expected }) => {
    const own = new NoiseSchedule({ ...leading.config, setAlphaToOne: one });
    const { values } = sample(sampler(name).create(own, steps, eta > 0 ? { eta } : {}));
    if ("final" in expected) expect(relativeError(values, expected.final)).toBeLessThan(1e-13);
    // The stock scheduler's levels and factors are float32.
    expect(relativeError(values, expected.stock)).toBeLessThan(STOCK_TOLERANCE);
  });

  it.each(
    reference.spaced.map(
      (run) => [`${run.sampler}, ${run.spacing ?? "none named"}, ${run.steps} steps`, run] as const,
    ),
  )(
    "has diffusers' timesteps and ends where it does: %s",
    (_, { sampler: name, spacing, steps, ...expected }) => {
      const run = sampler(name).create<Vector>(
        spacing === null ? schedule : spaced(spacing as TimestepSpacing),
        steps,
      );
      // Euler's fractional timesteps are float32 in diffusers.
      const rounding = name === "euler" ? 1000 * 2 ** -25 : 0;
      expect(run.timesteps).toHaveLength(expected.timesteps.length);
      run.timesteps.forEach((t, i) =>
        expect(Math.abs(t - expected.timesteps[i]!)).toBeLessThanOrEqual(rounding),
      );
      // A run that starts at timestep 0 hangs on 1 − ᾱ_0 = 8.5e-4, which float32 rounds by up to 3.5e-5 of it.
      const tolerance = run.timesteps[0] === 0 ? 2e-5 : STOCK_TOLERANCE;
      expect(Math.abs(run.initialScale / expected.initialScale - 1)).toBeLessThan(tolerance);
      expect(relativeError(sample(run).values, expected.stock)).toBeLessThan(tolerance);
    },
  );

  it.each(
    reference.further.map((run) => {
      const beta = run.cosine ? "cosine" : "scaled linear";
      return [
        `${run.sampler}${run.karras ? " at Karras' levels" : ""}, ${beta}, ${run.spacing ?? "none named"}, ${run.steps} steps`,
        run,
      ] as const;
    }),
  )("ends where diffusers does on given fresh noise: %s", (_, { spacing, steps, ...expected }) => {
    const own = new NoiseSchedule({
      ...STABLE_DIFFUSION_SCHEDULE,
      ...(spacing === null ? {} : { timestepSpacing: spacing as TimestepSpacing }),
      ...(expected.cosine ? { betaSchedule: "squaredcos_cap_v2" as const } : {}),
      useKarrasSigmas: expected.karras,
    });
    const run = sampler(expected.sampler).create<Vector>(own, steps);
    expect(run.timesteps).toHaveLength(expected.timesteps.length);
    // Fractional timesteps are float32 in diffusers, and those at Karras' levels are found among float32 levels.
    const rounding = expected.karras ? 2e-3 : 1000 * 2 ** -25;
    run.timesteps.forEach((t, i) =>
      expect(Math.abs(t - expected.timesteps[i]!)).toBeLessThanOrEqual(rounding),
    );
    const tolerance = run.timesteps[0]! < 1 || expected.cosine ? 2e-5 : STOCK_TOLERANCE;
    expect(Math.abs(run.initialScale / expected.initialScale - 1)).toBeLessThan(tolerance);
    expect(relativeError(sample(run).values, expected.stock)).toBeLessThan(tolerance);
  });

  it.each(
    reference.configured.map((run) => [`${run.sampler}, ${run.config}, ${run.steps} steps`, run] as const),
  )("ends where diffusers does on another's config: %s", (_, { sampler: name, config, steps, stock }) => {
    const own = NoiseSchedule.fromConfig(reference.configs[config as keyof typeof reference.configs]);
    const run = sampler(name).create<Vector>(own, steps);
    const endsAtZero = own.config.zeroTerminalSnr === true;
    // Where there is next to no signal, float32 rounds what is left of it, and the more where squares of levels cancel.
    const ancestral = endsAtZero && name === "euler-ancestral" ? 1e-4 : 0;
    const tolerance = Math.max(run.timesteps[0]! < 1 || endsAtZero ? 2e-5 : STOCK_TOLERANCE, ancestral);
    expect(relativeError(sample(run).values, stock)).toBeLessThan(tolerance);
  });

  it("evaluates twice in each of Heun's steps but the last, and once in those of the others", () => {
    expect(sampler("heun").create(schedule, 3).steps).toEqual([0, 0, 1, 1, 2]);
    expect(sampler("heun").create(schedule, 1).steps).toEqual([0]);
    for (const name of SAMPLER_NAMES.filter((other) => other !== "heun")) {
      const run = sampler(name).create(schedule, 3);
      expect(run.steps).toEqual(run.timesteps.map((_, index) => index));
    }
  });

  it("keeps Heun's start within a step alone, and DPM-Solver's last clean estimate", () => {
    const kept = (name: string): number[] => {
      const run = sampler(name).create<Vector>(schedule, 3);
      let z = new Vector([1]);
      return run.timesteps.map((_, index) => {
        z = run.step(index, z, new Vector([index]));
        return run.retained.length;
      });
    };
    expect(kept("heun")).toEqual([2, 0, 2, 0, 0]);
    expect(kept("dpmpp-2m")).toEqual([1, 1, 0]);
  });

  it("keeps what later steps read in retained, and no more than four predictions", () => {
    const run = sampler("pndm").create<Vector>(schedule, 12);
    let z = new Vector([1]);
    const counts = run.timesteps.map((_, index) => {
      z = run.step(index, z, new Vector([index]));
      return run.retained.length;
    });
    expect(counts).toEqual([2, 1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4]);
    expect(run.retained.map((kept) => kept.values[0])).toEqual([12, 11, 10, 9]);
  });

  it.each(SAMPLER_NAMES)("takes the steps of %s in order and only once", (name) => {
    const run = sampler(name).create<Vector>(schedule, 2);
    const one = new Vector([1]);
    const random = run.stochastic ? one : undefined;
    expect(() => run.step(1, one, one, random)).toThrow(/Expected step 0 .* received 1/);
    run.timesteps.forEach((_, index) => run.step(index, one, one, random));
    expect(() => run.step(run.timesteps.length, one, one)).toThrow(/create another/);
  });

  it("takes eta for DDIM alone, from 0 to 1, and fresh noise only with it", () => {
    const one = new Vector([1]);
    for (const eta of [-0.1, 1.1, NaN])
      expect(() => sampler("ddim").create(schedule, 5, { eta })).toThrow(/eta/);
    for (const name of SAMPLER_NAMES.filter((other) => other !== "ddim")) {
      expect(() => sampler(name).create(schedule, 5, { eta: 0.5 })).toThrow(/takes no eta/);
      const run = sampler(name).create<Vector>(schedule, 5);
      expect(run.stochastic).toBe(name === "euler-ancestral" || name === "lcm");
      expect(() => run.step(0, one, one, run.stochastic ? undefined : one)).toThrow(/fresh noise/);
    }
    expect(() => sampler("ddim").create<Vector>(schedule, 5, { eta: 1 }).step(0, one, one)).toThrow(/none/);
    expect(() => sampler("ddim").create<Vector>(schedule, 5).step(0, one, one, one)).toThrow(/some/);
    expect(() => sampler("ddim").create(schedule, 5, { sigma: 1 } as object)).toThrow(
      /Unknown option "sigma"/,
    );
  });

  it("refuses the Runge-Kutta start of PNDM", () => {
    const prk = new NoiseSchedule({ ...STABLE_DIFFUSION_SCHEDULE, skipPrkSteps: false });
    expect(() => sampler("pndm").create(prk, 5)).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED_MODEL" }),
    );
    expect(sampler("ddim").create(prk, 5).timesteps).toHaveLength(5);
  });

  it("lists the samplers that exist when asked for another", () => {
    expect(() => sampler("dpm++")).toThrow(/"ddim", "pndm", "euler", "euler-ancestral", "heun", "dpmpp-2m"/);
  });
});

describe("the sampler of a scheduler_config.json", () => {
  it.each([
    ["DDIMScheduler", "ddim"],
    ["PNDMScheduler", "pndm"],
    ["EulerDiscreteScheduler", "euler"],
    ["EulerAncestralDiscreteScheduler", "euler-ancestral"],
    ["HeunDiscreteScheduler", "heun"],
    ["DPMSolverMultistepScheduler", "dpmpp-2m"],
    ["LCMScheduler", "lcm"],
    ["UniPCMultistepScheduler", null],
    ["DDPMScheduler", null],
    [undefined, null],
  ])("is for %s %s", (_class_name, expected) => {
    expect(samplerOfConfig({ _class_name })).toBe(expected);
  });

  it("is none of ours where a setting makes it another", () => {
    const dpm = {
      _class_name: "DPMSolverMultistepScheduler",
      algorithm_type: "dpmsolver++",
      solver_order: 2,
    };
    expect(samplerOfConfig({ ...dpm, use_karras_sigmas: true, solver_type: null })).toBe("dpmpp-2m");
    expect(samplerOfConfig({ ...dpm, algorithm_type: "sde-dpmsolver++" })).toBeNull();
    expect(samplerOfConfig({ ...dpm, solver_order: 3 })).toBeNull();
    expect(samplerOfConfig({ _class_name: "EulerDiscreteScheduler", use_beta_sigmas: true })).toBeNull();
  });
});

describe("ddimCoefficients", () => {
  it("gives eq. 12 of the DDIM paper, from the predicted clean image", () => {
    for (const [a, b, eta] of [
      [0.3, 0.6, 0],
      [0.3, 0.6, 0.7],
      [0.0058, 0.0073, 1],
      [0.9983, 0.99915, 0],
      [0.5, 1, 0.5],
    ] as const) {
      const z = 0.7;
      const e = -1.3;
      const clean = (z - Math.sqrt(1 - a) * e) / Math.sqrt(a);
      const sigma = eta * Math.sqrt((1 - b) / (1 - a)) * Math.sqrt(1 - a / b);
      const expected = Math.sqrt(b) * clean + Math.sqrt(1 - b - sigma ** 2) * e;
      const { latents, noise, random } = ddimCoefficients(a, b, eta);
      expect(latents * z + noise * e).toBeCloseTo(expected, 12);
      expect(random).toBeCloseTo(sigma, 12);
    }
  });

  it("keeps an exact mixture of image and noise exact", () => {
    const { latents, noise } = ddimCoefficients(0.2, 0.9);
    const [image, epsilon] = [1.7, -0.4];
    const z = Math.sqrt(0.2) * image + Math.sqrt(0.8) * epsilon;
    expect(latents * z + noise * epsilon).toBeCloseTo(Math.sqrt(0.9) * image + Math.sqrt(0.1) * epsilon, 12);
  });
});
