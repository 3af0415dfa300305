import { Tensor } from "../runtime/tensor";

/** The values of scalar losses by name, read in one transfer; those that are null were not computed. */
export async function readLosses(
  losses: Readonly<Record<string, Tensor | null>>,
): Promise<Record<string, number>> {
  const computed = Object.entries(losses).filter((entry): entry is [string, Tensor] => entry[1] !== null);
  const values = await Tensor.stack(computed.map(([, loss]) => loss.detach())).data();
  return Object.fromEntries(computed.map(([name], index) => [name, Number(values[index])]));
}
