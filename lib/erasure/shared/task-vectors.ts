import { hashUNet } from "../../diffusion/model-hash";
import { noGrad } from "../../runtime/grad-mode";
import { scope, unscoped } from "../../runtime/scope";
import { Tensor } from "../../runtime/tensor";
import type { StatePart } from "../../training/run-state";
import type { ErasureJob } from "../job";
import { artefactNames, TaskVector } from "../task-vector";

/** Task vectors in the making: what the trained weights have moved by, concept after concept. */
export class TaskVectors implements StatePart {
  private readonly done: Map<string, Tensor>[] = [];

  constructor(private readonly job: ErasureJob) {}

  /** Takes τ of the next concept, and puts the weights back to where they began. */
  async take(): Promise<void> {
    const { teacher, trained } = this.job;
    const weights = this.job.weights();
    const tau = new Map<string, Tensor>();
    for (const name of trained) {
      const change = scope(() =>
        noGrad(() => {
          const weight = weights.get(name)!.detach();
          return weight.sub(teacher.unet.parameter(name).to(weight.dtype));
        }),
      );
      tau.set(name, this.job.hold(change));
    }
    this.done.push(tau);
    await this.job.reset();
  }

  /** What was taken, as artefacts of the run. */
  async give(): Promise<TaskVector[]> {
    const { base, concepts, signal } = this.job;
    const hash = await hashUNet(base, signal);
    const names = artefactNames(concepts);
    const vectors: TaskVector[] = [];
    for (const [index, tau] of this.done.entries()) {
      const parameters = new Map<string, Tensor>();
      for (const [name, tensor] of tau) {
        const copy = unscoped(() => scope(() => noGrad(() => tensor.to({ device: "cpu" }).clone())));
        parameters.set(name, await copy.settled());
      }
      const own = { base: hash, concepts: [concepts[index]!], name: names[index]! };
      vectors.push(this.job.give(new TaskVector({ parameters, ...own })));
    }
    return vectors;
  }

  tensors(): ReadonlyMap<string, Tensor> {
    return new Map(
      this.done.flatMap((tau, index) =>
        [...tau].map(([name, tensor]) => [`${index}.${name}`, tensor] as const),
      ),
    );
  }

  numbers(): unknown {
    return this.done.length;
  }

  restore(numbers: unknown): void {
    const { device } = this.job.base;
    const zeros = ([name, { shape }]: readonly [string, Tensor]) =>
      [name, this.job.hold(Tensor.zeros(shape, { device }))] as const;
    for (let index = 0; index < (numbers as number); index++)
      this.done.push(new Map([...this.job.weights()].map(zeros)));
  }
}
