import { NoiseSchedule } from "../../../../lib/diffusion/noise-schedule";
import { ddimCoefficients } from "../../../../lib/diffusion/samplers/ddim";
import {
  compvisTimesteps,
  ddimTimesteps,
  trainingTrajectory,
} from "../../../../lib/diffusion/samplers/training-trajectory";

const schedule = new NoiseSchedule();
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b) / values.length;

describe("trainingTrajectory", () => {
  it("pairs z with the timestep of its own level when aligned", () => {
    const { steps, stops } = trainingTrajectory("aligned", schedule, 50);
    expect(steps.map((step) => step.timestep)).toEqual(ddimTimesteps(schedule, 50));
    expect(stops.map((stop) => stop.executed)).toEqual([...Array(50).keys()]);
    expect(stops.map((stop) => stop.timestep)).toEqual(
      Array.from({ length: 50 }, (_, r) => ({ from: 981 - 20 * r, to: 981 - 20 * r })),
    );
    expect(mean(stops.map((stop) => stop.executed))).toBe(24.5);
  });

  it("follows the published script's indexing in compvis mode", () => {
    const { steps, stops } = trainingTrajectory("compvis", schedule, 50);
    expect(steps).toHaveLength(49);
    expect([steps[0]!.timestep, steps[48]!.timestep]).toEqual([961, 1]);
    expect(stops.map((stop) => stop.executed)).toEqual([49, ...Array.from({ length: 49 }, (_, i) => 49 - i)]);
    expect(mean(stops.map((stop) => stop.executed))).toBe(25.48);
    stops.forEach(({ timestep }, draw) => expect(timestep).toEqual({ from: 20 * draw, to: 20 * draw + 19 }));
  });

  it("leaves z 39 to 58 timesteps cleaner than t in compvis mode", () => {
    const { steps, stops } = trainingTrajectory("compvis", schedule, 50);
    for (const { executed, timestep } of stops.slice(2)) {
      const level = steps[executed]!.timestep;
      expect([timestep.from - level, timestep.to - level]).toEqual([39, 58]);
    }
  });

  it("makes x̂₀ at z's own level when aligned, and 40 timesteps above it in compvis mode, as the published scripts do", () => {
    const gaps = (sampling: "aligned" | "compvis"): number[] => {
      const { steps, stops } = trainingTrajectory(sampling, schedule, 50);
      return stops.map(({ executed, level }) => level - (steps[executed]?.timestep ?? 0));
    };
    expect(new Set(gaps("aligned"))).toEqual(new Set([0]));
    expect(new Set(gaps("compvis").slice(2))).toEqual(new Set([40]));
    const { stops } = trainingTrajectory("compvis", schedule, 50);
    expect(stops.map(({ level }) => level)).toEqual(Array.from({ length: 50 }, (_, draw) => 20 * draw + 1));
  });

  it("moves z by DDIM's factors, and at the end to the level of timestep 0", () => {
    for (const sampling of ["aligned", "compvis"] as const) {
      const { steps } = trainingTrajectory(sampling, schedule, 50);
      steps.forEach(({ timestep, latents, noise }, i) => {
        const next = steps[i + 1]?.timestep ?? 0;
        const expected = ddimCoefficients(schedule.alphasCumprod[timestep]!, schedule.alphasCumprod[next]!);
        expect([latents, noise]).toEqual([expected.latents, expected.noise]);
      });
    }
  });

  it("covers every timestep once where S does not divide T", () => {
    const { stops } = trainingTrajectory("compvis", schedule, 12);
    expect(stops[0]!.timestep.from).toBe(0);
    expect(stops[11]!.timestep.to).toBe(999);
    stops.slice(1).forEach((stop, i) => expect(stop.timestep.from).toBe(stops[i]!.timestep.to + 1));
  });

  it("numbers CompVis' timesteps from 1, with the config's offset left aside", () => {
    expect(compvisTimesteps(schedule, 50)).toEqual(ddimTimesteps(schedule, 50));
    const plain = new NoiseSchedule({ ...schedule.config, stepsOffset: 0 });
    expect(compvisTimesteps(plain, 4)).toEqual([751, 501, 251, 1]);
    expect(ddimTimesteps(plain, 4)).toEqual([750, 500, 250, 0]);
  });

  it("refuses unknown modes and step counts that leave the schedule", () => {
    expect(() => trainingTrajectory("fixed" as "aligned", schedule, 50)).toThrow(/"aligned", "compvis"/);
    expect(() => trainingTrajectory("compvis", schedule, 1)).toThrow(/samplingSteps/);
    expect(() => trainingTrajectory("compvis", schedule, 1000)).toThrow(/samplingSteps/);
    expect(() => trainingTrajectory("aligned", schedule, 1000)).toThrow(/timestep 1000/);
    expect(() => compvisTimesteps(schedule, 0)).toThrow(/steps/);
  });
});
