import { denoise, type DenoiseState } from "../../../lib/diffusion/denoise";
import { NoiseSchedule } from "../../../lib/diffusion/noise-schedule";
import type { Steering } from "../../../lib/diffusion/interventions/intervention";
import type { Denoiser } from "../../../lib/diffusion/predict";
import { SAMPLER_NAMES, sampler, type SamplerName } from "../../../lib/diffusion/samplers";
import { Random } from "../../../lib/runtime/random";
import { Tensor } from "../../../lib/runtime/tensor";
import { Vector } from "../../support/vector";
import { forEachText } from "../../support/erasure-job";

const schedule = new NoiseSchedule();
const text = { context: Tensor.zeros([1, 2, 3]) };
const condition = { text, negative: null, guidanceScale: 1 };
const start = (): Tensor => new Random(4).normal([1, 4, 2, 2]);
const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);

/** A network whose prediction is a third of what it is given; remembers the timesteps. */
function third(): { model: Denoiser; timesteps: number[] } {
  const timesteps: number[] = [];
  const forward = async (sample: Tensor, timestep: number, context: Tensor): Promise<Tensor> => {
    timesteps.push(timestep);
    return forEachText(sample, context).mul(1 / 3);
  };
  return { model: computing(forward), timesteps };
}

function computing(
  forward: (sample: Tensor, timestep: number, context: Tensor) => Promise<Tensor>,
): Denoiser {
  return {
    unet: { forward, config: { addition_embed_type: "" } },
    dtype: "float32",
    schedule,
  } as unknown as Denoiser;
}

describe("denoise", () => {
  it.each(SAMPLER_NAMES)("takes the sampler %s through all its steps", async (name) => {
    const noise = start();
    const { model, timesteps } = third();
    const run = sampler(name).create<Tensor>(schedule, 7);
    const fresh = (evaluation: number): Tensor => new Random(evaluation).normal(noise.shape);
    let last: number[] = [];
    const seen: number[] = [];
    for await (const state of denoise(model, run, noise, condition, { fresh })) {
      seen.push(state.step);
      const evaluation = run.steps.lastIndexOf(state.step - 1);
      expect([state.steps, state.timestep]).toEqual([name === "pndm" ? 8 : 7, run.timesteps[evaluation]]);
      last = await numbers(state.latents);
    }
    expect(seen).toEqual(Array.from({ length: name === "pndm" ? 8 : 7 }, (_, i) => i + 1));
    expect(timesteps).toEqual(run.timesteps);

    // The same recursion on plain numbers.
    const plain = sampler(name).create<Vector>(schedule, 7);
    const draws = await Promise.all(run.timesteps.map((_, i) => numbers(fresh(i))));
    let z = new Vector(await numbers(noise)).mul(plain.initialScale);
    plain.timesteps.forEach((_, i) => {
      const random = plain.stochastic ? new Vector(draws[i]!) : undefined;
      z = plain.step(i, z, plain.scaleInput(i, z).mul(1 / 3), random);
    });
    const largest = Math.max(...z.values.map(Math.abs));
    last.forEach((value, i) => expect(Math.abs(value - z.values[i]!) / largest).toBeLessThan(1e-5));
  });

  it.each<SamplerName>(["ddim", "pndm", "heun", "dpmpp-2m"])(
    "with %s frees the latents of a step after the next, and at the end all but the noise",
    async (name) => {
      const noise = start();
      const states: DenoiseState[] = [];
      for await (const state of denoise(
        third().model,
        sampler(name).create<Tensor>(schedule, 6),
        noise,
        condition,
      )) {
        expect(state.latents.disposed).toBe(false);
        for (const { latents } of states.slice(0, -1)) expect(latents.disposed).toBe(true);
        states.push(state);
      }
      expect(states.map(({ latents }) => latents.disposed)).toEqual(states.map(() => true));
      expect(noise.disposed).toBe(false);
    },
  );

  it("frees everything when the caller stops early", async () => {
    let kept: Tensor | undefined;
    for await (const { latents } of denoise(
      third().model,
      sampler("ddim").create<Tensor>(schedule, 5),
      start(),
      condition,
    )) {
      kept = latents;
      break;
    }
    expect(kept!.disposed).toBe(true);
  });

  it("tells what steers of the solver's steps, not of evaluations", async () => {
    const steps: number[] = [];
    const { model, timesteps } = third();
    const by: Steering = {
      retained: [],
      steer({ conditional, step }) {
        steps.push(step);
        return conditional;
      },
    };
    const run = sampler("heun").create<Tensor>(schedule, 3);
    const guided = { text, negative: text, guidanceScale: 2, steering: [{ by, prompts: [] }] };
    for await (const { step } of denoise(model, run, start(), guided)) expect(step).toBeGreaterThan(0);
    expect(steps).toEqual([0, 0, 1, 1, 2]);
    expect(timesteps).toHaveLength(5);
  });

  it("stops before the step that follows an abort", async () => {
    const controller = new AbortController();
    const { model, timesteps } = third();
    const run = sampler("ddim").create<Tensor>(schedule, 5);
    const all = async (): Promise<void> => {
      for await (const { step } of denoise(model, run, start(), condition, { signal: controller.signal }))
        if (step === 2) controller.abort();
    };
    await expect(all()).rejects.toMatchObject({ name: "KpopError", code: "ABORTED" });
    expect(timesteps).toHaveLength(2);
  });

  it("frees what it holds when the network fails", async () => {
    let calls = 0;
    const forward = async (sample: Tensor): Promise<Tensor> => {
      if (++calls === 3) throw new Error("no more");
      return sample.mul(0.1);
    };
    const seen: Tensor[] = [];
    const all = async (): Promise<void> => {
      const run = sampler("pndm").create<Tensor>(schedule, 5);
      for await (const { latents } of denoise(computing(forward), run, start(), condition))
        seen.push(latents);
    };
    await expect(all()).rejects.toThrow("no more");
    expect(seen.map((tensor) => tensor.disposed)).toEqual([true, true]);
  });
});
