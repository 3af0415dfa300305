import { denoise, type DenoiseState } from "../../../lib/diffusion/denoise";
import { NoiseSchedule } from "../../../lib/diffusion/noise-schedule";
import type { Denoiser } from "../../../lib/diffusion/predict";
import { sampler, type SamplerName } from "../../../lib/diffusion/samplers";
import { Random } from "../../../lib/runtime/random";
import { Tensor } from "../../../lib/runtime/tensor";
import { Vector } from "../../support/vector";

const schedule = new NoiseSchedule();
const text = { context: Tensor.zeros([1, 2, 3]) };
const condition = { text, negative: null, guidanceScale: 1 };
const start = (): Tensor => new Random(4).normal([1, 4, 2, 2]);
const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data(), Number);

/** A network whose prediction is a third of what it is given; remembers the timesteps. */
function third(): { model: Denoiser; timesteps: number[] } {
  const timesteps: number[] = [];
  const forward = async (sample: Tensor, timestep: number): Promise<Tensor> => {
    timesteps.push(timestep);
    return sample.mul(1 / 3);
  };
  return { model: computing(forward), timesteps };
}

function computing(forward: (sample: Tensor, timestep: number) => Promise<Tensor>): Denoiser {
  return { unet: { forward }, dtype: "float32" } as unknown as Denoiser;
}

describe("denoise", () => {
  it.each<SamplerName>(["ddim", "pndm", "euler"])(
    "takes the sampler %s through all its steps",
    async (name) => {
      const noise = start();
      const { model, timesteps } = third();
      const run = sampler(name).create<Tensor>(schedule, 7);
      let last: number[] = [];
      const seen: number[] = [];
      for await (const state of denoise(model, run, noise, condition)) {
        seen.push(state.step);
        expect([state.steps, state.timestep]).toEqual([run.timesteps.length, run.timesteps[state.step - 1]]);
        last = await numbers(state.latents);
      }
      expect(seen).toEqual(run.timesteps.map((_, i) => i + 1));
      expect(timesteps).toEqual(run.timesteps);

      // The same recursion on plain numbers.
      const plain = sampler(name).create<Vector>(schedule, 7);
      let z = new Vector(await numbers(noise)).mul(plain.initialScale);
      plain.timesteps.forEach((_, i) => (z = plain.step(i, z, plain.scaleInput(i, z).mul(1 / 3))));
      const largest = Math.max(...z.values.map(Math.abs));
      last.forEach((value, i) => expect(Math.abs(value - z.values[i]!) / largest).toBeLessThan(1e-5));
    },
  );

  it.each<SamplerName>(["ddim", "pndm"])(
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
