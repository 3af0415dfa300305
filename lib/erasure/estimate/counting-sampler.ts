import { throwIfAborted } from "../../errors";
import type { Tensor } from "../../runtime/tensor";
import { TrajectorySampler, type MoveOptions } from "../shared/trajectory-sampler";

/** Counts the steps that trajectories would be moved on by, and leaves latents what they are. */
export class CountingSampler extends TrajectorySampler {
  /** Steps for which both halves of guidance are predicted, and those with one of them. */
  readonly steps = { both: 0, one: 0 };
  /** Those of them that came before the first iteration. */
  readonly filling = { both: 0, one: 0 };

  override async move(
    latents: Tensor,
    _text: number,
    from: number,
    to: number,
    stride = 1,
    { known = {}, signal }: MoveOptions = {},
  ): Promise<Tensor> {
    throwIfAborted(signal);
    const count = Math.max(0, Math.ceil((to - from) / stride));
    for (let step = 0; step < count; step++) this.count(step === 0 ? known : {});
    return latents.detach().clone();
  }

  /** Those until now filled a pool. */
  filled(): void {
    Object.assign(this.filling, this.steps);
  }

  /** Takes one step as the run would. @param half whether the conditional prediction is there already */
  take(half: boolean): Promise<Tensor> {
    const latents = this.noise("estimate");
    return super.move(latents, 0, 0, 1, 1, half && !this.unguided ? { known: { conditional: latents } } : {});
  }

  private get unguided(): boolean {
    return this.options.startGuidance === 1;
  }

  private count({ conditional, unconditional }: NonNullable<MoveOptions["known"]>): void {
    const known = [conditional, unconditional].filter((prediction) => prediction !== undefined).length;
    if (this.unguided) this.steps.one += conditional === undefined ? 1 : 0;
    else if (known === 0) this.steps.both += 1;
    else this.steps.one += 2 - known;
  }
}
