import { NoiseSchedule, STABLE_DIFFUSION_SCHEDULE } from "../../../lib/diffusion/noise-schedule";
import { ddimCoefficients } from "../../../lib/diffusion/samplers/ddim";
import reference from "../../fixtures/samplers/reference.json";
import { Vector } from "../../support/vector";

const SD14 = {
  _class_name: "PNDMScheduler",
  _diffusers_version: "0.7.0",
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  num_train_timesteps: 1000,
  set_alpha_to_one: false,
  skip_prk_steps: true,
  steps_offset: 1,
  trained_betas: null,
  clip_sample: false,
};

describe("NoiseSchedule", () => {
  it("reads Stable Diffusion's scheduler config", () => {
    const schedule = NoiseSchedule.fromConfig(SD14);
    expect(schedule.config).toEqual(STABLE_DIFFUSION_SCHEDULE);
    expect(schedule.length).toBe(1000);
    expect(schedule.betas[0]).toBeCloseTo(0.00085, 15);
    expect(schedule.betas[999]).toBeCloseTo(0.012, 15);
    expect(schedule.alphaCumprod(-1)).toBe(schedule.alphasCumprod[0]);
    expect(NoiseSchedule.fromConfig({ ...SD14, set_alpha_to_one: true }).alphaCumprod(-1)).toBe(1);
    const unsaid = NoiseSchedule.fromConfig({ ...SD14, set_alpha_to_one: undefined });
    expect([unsaid.alphaCumprod(-1), unsaid.alphaCumprod(-1, false)]).toEqual([1, unsaid.alphasCumprod[0]]);
  });

  it.each([
    [0, 0.99915],
    [1, 0.998296],
    [500, 0.276333],
    [941, 0.009117],
    [961, 0.007282],
    [981, 0.005776],
    [999, 0.00466],
  ])("has Stable Diffusion's level at timestep %i", (t, level) => {
    expect(new NoiseSchedule().alphaCumprod(t)).toBeCloseTo(level, 6);
  });

  // diffusers multiplies float32 numbers; at the cosine schedule's capped end 1 − β has few digits left in float32.
  it.each([
    ["scaled_linear", {}, 1e-6],
    ["linear", { beta_schedule: "linear", beta_start: 0.0001, beta_end: 0.02 }, 1e-6],
    ["squaredcos_cap_v2", { beta_schedule: "squaredcos_cap_v2" }, 2e-5],
  ] as const)("has diffusers' levels for %s", (name, fields, tolerance) => {
    const schedule = NoiseSchedule.fromConfig({ ...SD14, ...fields });
    for (const [t, level] of reference.alphasCumprod[name] as [number, number][])
      expect(Math.abs(schedule.alphaCumprod(t) / level - 1)).toBeLessThan(tolerance);
  });

  it("sums its levels to diffusers' sum", () => {
    const sum = new NoiseSchedule().alphasCumprod.reduce((a, b) => a + b);
    expect(Math.abs(sum / reference.sumOfAllAlphas - 1)).toBeLessThan(1e-6);
  });

  it("noises with factors whose squares add to one", () => {
    const schedule = new NoiseSchedule();
    const { signal, noise } = schedule.noising(500);
    expect(signal ** 2 + noise ** 2).toBeCloseTo(1, 14);
    expect(signal).toBeCloseTo(Math.sqrt(schedule.alphasCumprod[500]!), 14);
    expect(schedule.sigma(500)).toBeCloseTo(noise / signal, 14);
    const [value] = schedule.addNoise(new Vector([2]), new Vector([-3]), 500).values;
    expect(value).toBeCloseTo(2 * signal - 3 * noise, 14);
  });

  it("ends at zero signal-to-noise ratio where it is asked to, as diffusers rescales it", () => {
    const config = { ...SD14, prediction_type: "v_prediction", rescale_betas_zero_snr: true };
    const schedule = NoiseSchedule.fromConfig(config);
    expect(schedule.config).toEqual({
      ...STABLE_DIFFUSION_SCHEDULE,
      predictionType: "v_prediction",
      zeroTerminalSnr: true,
    });
    for (const [t, alpha] of reference.alphasCumprodEndingAtZero as [number, number][])
      // Those of diffusers come from float32 betas, at the end of the schedule from differences of nearly equal numbers.
      expect(Math.abs(schedule.alphasCumprod[t]! - alpha)).toBeLessThan(2e-6);
    expect(schedule.alphaCumprod(999)).toBe(0);
    expect(schedule.noising(999)).toEqual({ signal: 0, noise: 1 });
    expect(schedule.sigma(999)).toBeCloseTo(4096, 3);
    const product = schedule.betas.slice(0, 500).reduce((value, beta) => value * (1 - beta), 1);
    expect(product).toBeCloseTo(schedule.alphasCumprod[499]!, 12);
    expect(() => ddimCoefficients(schedule.alphaCumprod(999), 0.5)).toThrow(/zero signal-to-noise ratio/);
  });

  it("has a level between two timesteps where σ is between theirs", () => {
    const schedule = new NoiseSchedule();
    expect(schedule.level(500)).toEqual(schedule.noising(500));
    const { signal, noise } = schedule.level(500.25);
    expect(signal ** 2 + noise ** 2).toBeCloseTo(1, 14);
    expect(noise / signal).toBeCloseTo(0.75 * schedule.sigma(500) + 0.25 * schedule.sigma(501), 12);
  });

  it("refuses timesteps outside the schedule", () => {
    for (const t of [1000, 0.5, NaN, -1])
      expect(() => new NoiseSchedule().noising(t)).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT" }),
      );
    expect(() => new NoiseSchedule().alphaCumprod(1000)).toThrow(/timestep/);
  });

  it.each([
    ["prediction_type", "sample"],
    ["rescale_betas_zero_snr", true],
    ["timestep_spacing", "karras"],
    ["clip_sample", true],
    ["thresholding", true],
    ["trained_betas", [0.1, 0.2]],
    ["beta_schedule", "sigmoid"],
    ["_class_name", "FlowMatchEulerDiscreteScheduler"],
  ])("refuses a config whose %s is %p, naming the field", (field, value) => {
    const make = (): NoiseSchedule => NoiseSchedule.fromConfig({ ...SD14, [field]: value });
    expect(make).toThrow(expect.objectContaining({ code: "UNSUPPORTED_MODEL" }));
    expect(make).toThrow(new RegExp(`^${field} `));
  });

  it.each([
    ["num_train_timesteps", 0],
    ["num_train_timesteps", "1000"],
    ["beta_start", -1],
    ["beta_end", 1],
    ["steps_offset", 0.5],
    ["set_alpha_to_one", "no"],
  ])("refuses a malformed %s of %p", (field, value) => {
    const make = (): NoiseSchedule => NoiseSchedule.fromConfig({ ...SD14, [field]: value });
    expect(make).toThrow(expect.objectContaining({ code: "INVALID_CHECKPOINT" }));
    expect(make).toThrow(new RegExp(`Expected ${field} `));
  });

  it("refuses a config that is not an object", () => {
    for (const json of [null, [], "ddim"])
      expect(() => NoiseSchedule.fromConfig(json)).toThrow(/scheduler_config\.json/);
  });

  it("reads each spacing of timesteps, and leaves an absent one to the sampler", () => {
    for (const timestep_spacing of ["leading", "linspace", "trailing"]) {
      const { config } = NoiseSchedule.fromConfig({ ...SD14, timestep_spacing });
      expect(config).toEqual({ ...STABLE_DIFFUSION_SCHEDULE, timestepSpacing: timestep_spacing });
    }
    for (const absent of [SD14, { ...SD14, timestep_spacing: null }])
      expect(NoiseSchedule.fromConfig(absent).config).toEqual(STABLE_DIFFUSION_SCHEDULE);
  });

  it("reads Karras' levels and what a consistency model was distilled with, and leaves what is absent out", () => {
    const { config } = NoiseSchedule.fromConfig({
      ...SD14,
      use_karras_sigmas: true,
      original_inference_steps: 100,
      timestep_scaling: 12,
    });
    expect(config).toEqual({
      ...STABLE_DIFFUSION_SCHEDULE,
      useKarrasSigmas: true,
      lcmOriginalSteps: 100,
      lcmTimestepScaling: 12,
    });
    const absent = { use_karras_sigmas: false, original_inference_steps: null };
    expect(NoiseSchedule.fromConfig({ ...SD14, ...absent }).config).toEqual(STABLE_DIFFUSION_SCHEDULE);
  });

  it("takes diffusers' defaults for absent fields", () => {
    const { betaSchedule, betaStart, betaEnd, stepsOffset, setAlphaToOne } = NoiseSchedule.fromConfig(
      {},
    ).config;
    expect({ betaSchedule, betaStart, betaEnd, stepsOffset, setAlphaToOne }).toEqual({
      betaSchedule: "linear",
      betaStart: 0.0001,
      betaEnd: 0.02,
      stepsOffset: 0,
      setAlphaToOne: undefined,
    });
  });
});
