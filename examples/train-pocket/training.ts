import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import { Adam, clipGradients, safetensors, scope, type Tensor } from "../../lib/index";
import { exists } from "./files";

/** One network, or several, trained together. */
export interface Stage {
  name: string;
  steps: number;
  /** Trained weights by a name that is unique among them. */
  parameters: ReadonlyMap<string, Tensor>;
  /** What the forward itself writes: running statistics. */
  buffers?: ReadonlyMap<string, Tensor>;
  /** Peak of the schedule: linear warm-up over `warmup` steps, then half a cosine down to zero. */
  learningRate: number;
  warmup: number;
  /** Norm that the gradients of all weights together are scaled down to; they stay as they are when absent. */
  maxGradientNorm?: number;
  /** Decay per step of the moving average of the weights; none when absent. */
  average?: number;
  /** The loss of step 0 …, with a graph. */
  loss(step: number): Promise<Tensor>;
  /** Called where the state is saved, with the averaged weights in the networks: draws samples, say. */
  look?(step: number): Promise<void>;
}

/** Steps between two updates of the moving average, whose decay is raised to that power. */
const AVERAGE_EVERY = 10;
const LOG_EVERY = 25;
const SAVE_EVERY = 250;

/** Runs a stage to its end, from where an interrupted run left it; the networks then hold the averaged weights. */
export async function train(stage: Stage, directory: string): Promise<void> {
  const { parameters, steps } = stage;
  const path = join(directory, `${stage.name}.state.safetensors`);
  const adam = await Adam.create([...parameters.values()]);
  const average = new Map([...parameters].map(([name, tensor]) => [name, tensor.detach().clone()]));
  const state = (): Map<string, Tensor> =>
    new Map([
      ...[...parameters, ...(stage.buffers ?? [])].map(
        ([name, tensor]) => [`weight.${name}`, tensor] as const,
      ),
      ...[...average].map(([name, tensor]) => [`average.${name}`, tensor] as const),
      ...[...adam.state()].map(([name, tensor]) => [`adam.${name}`, tensor] as const),
    ]);
  const averaged = async (body: () => Promise<void>): Promise<void> => {
    if (stage.average === undefined) return body();
    const own = new Map([...parameters].map(([name, tensor]) => [name, tensor.detach().clone()]));
    for (const [name, tensor] of parameters) await tensor.copyFrom(average.get(name)!);
    await body();
    for (const [name, tensor] of parameters) {
      await tensor.copyFrom(own.get(name)!);
      own.get(name)!.dispose();
    }
  };

  const first = await restore(path, state());
  for (const tensor of parameters.values()) await tensor.requireGrad();
  let begin = performance.now();
  let sum = 0;
  for (let step = first; step < steps; step++) {
    sum += await scope(async () => {
      const loss = await stage.loss(step);
      await loss.backward();
      if (stage.maxGradientNorm !== undefined)
        await clipGradients([...parameters.values()], stage.maxGradientNorm);
      await adam.step(rate(stage, step));
      return loss.item();
    });
    if (!Number.isFinite(sum)) throw new Error(`${stage.name}: the loss of step ${step} is ${sum}`);
    const done = step + 1;
    if (stage.average !== undefined && done % AVERAGE_EVERY === 0) {
      // Young averages follow fast, so that the first weights do not linger.
      const decay = Math.min(stage.average, (1 + done) / (10 + done)) ** AVERAGE_EVERY;
      await scope(async () => {
        for (const [name, tensor] of parameters) {
          const held = average.get(name)!;
          await held.copyFrom(held.mul(decay).add(tensor.detach().mul(1 - decay)));
        }
      });
    }
    if (done % LOG_EVERY === 0 || done === steps) {
      const seconds = (performance.now() - begin) / 1000 / LOG_EVERY;
      const line = { stage: stage.name, step: done, steps, loss: sum / LOG_EVERY, secondsPerStep: seconds };
      await appendFile(join(directory, "log.jsonl"), `${JSON.stringify(line)}\n`);
      console.error(
        `${stage.name} ${done}/${steps}  loss ${line.loss.toFixed(5)}  ${seconds.toFixed(2)} s a step, ` +
          `${Math.ceil((seconds * (steps - done)) / 60)} min left`,
      );
      begin = performance.now();
      sum = 0;
    }
    if (done % SAVE_EVERY === 0 || done === steps) {
      await safetensors.save(path, state(), { step: String(done) });
      if (stage.look !== undefined) await averaged(() => stage.look!(done));
      begin = performance.now();
    }
  }
  for (const tensor of parameters.values()) await tensor.requireGrad(false);
  if (stage.average !== undefined) {
    for (const [name, tensor] of parameters) await tensor.copyFrom(average.get(name)!);
  }
  for (const tensor of average.values()) tensor.dispose();
  adam.dispose();
}

function rate({ learningRate, warmup, steps }: Stage, step: number): number {
  if (step < warmup) return (learningRate * (step + 1)) / warmup;
  return (learningRate * (1 + Math.cos((Math.PI * (step - warmup)) / (steps - warmup)))) / 2;
}

async function restore(path: string, state: ReadonlyMap<string, Tensor>): Promise<number> {
  if (!(await exists(path))) return 0;
  const file = await safetensors.open(path);
  try {
    for (const [name, tensor] of state) {
      const saved = await file.read(name);
      await tensor.copyFrom(saved.to({ device: tensor.device }));
      saved.dispose();
    }
    return Number(file.metadata["step"]);
  } finally {
    await file.close();
  }
}
