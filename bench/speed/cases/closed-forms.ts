import { Random, scope, type Tensor } from "../../../lib/index";
import { applyRidgeEdit, nullSpaceEdits, ridgeEdit } from "../../../lib/internal";
import { peakBytes } from "../../machine";
import { time, type Measurement, type SpeedCase } from "../case";

/** Outputs of Stable Diffusion 1.4's cross-attention: five, five and six modules, each with keys and values. */
const OUTPUTS = [320, 640, 1280].flatMap((out, place) => Array<number>(place === 2 ? 6 : 5).fill(out));
const WIDTH = 768;
const HELD = 1000;
const CONCEPTS = [1, 10, 100];
/** Token rows from a short name's last token on, of 77. */
const TAIL = 75;
const REPEATS = 3;

/** UCE and SPEED over all projections, text encoding apart: random weights, and rows in place of texts' states. */
export function closedFormsCase(): SpeedCase {
  return {
    name: "closed-forms",
    title: `closed forms on SD-1.4's projections, ${HELD} rows held, by the number of concepts`,
    run: measure,
  };
}

async function measure(): Promise<Measurement> {
  const random = new Random(0);
  const rows = (label: string, count: number): Tensor =>
    random.at(label).normal([count, WIDTH], { dtype: "float64" });
  const weights = (kind: string): Tensor[] =>
    OUTPUTS.map((out, place) => random.at(kind, place).normal([out, WIDTH]).mul(0.02));
  const [keys, values, held] = [weights("keys"), weights("values"), rows("held", HELD)];
  const seconds: Record<string, number> = {};
  const measured = async (name: string, body: () => Promise<void>): Promise<void> => {
    seconds[name] = await time(() => scope(body), REPEATS);
    console.error(`${name}: ${seconds[name].toFixed(2)} s`);
  };

  for (const count of CONCEPTS) {
    const concepts = `${count} concept${count === 1 ? "" : "s"}`;
    await measured(`uce, keys and values, ${concepts}`, async () => {
      const moved = {
        rows: rows("concepts", count * TAIL),
        targets: rows("guides", count * TAIL),
        weights: 1,
      };
      const edit = await ridgeEdit({ moved, held: { rows: held, weights: 0.1 }, lambda: 0.5 });
      for (const weight of [...keys, ...values])
        await scope(() => applyRidgeEdit(edit, weight).weight.settled());
    });
    const moved = {
      rows: rows("concepts", count),
      targets: rows("guides", count),
      texts: Array.from({ length: count }, (_, concept) => String(concept)),
    };
    const prior = { filter: true, augmentations: 10, threshold: 0.1, retainScale: 1, lambda: 0 };
    const problem = { moved, held, invariants: rows("invariants", 4), ...prior };
    for (const [name, of] of [
      ["values", values],
      ["keys and values", [...keys, ...values]],
    ] as const)
      await measured(`speed, ${name}, ${concepts}`, async () => {
        const editOf = await nullSpaceEdits(problem, random);
        for (const [place, weight] of of.entries())
          await scope(async () => {
            const { edit } = await editOf(String(place), weight);
            await applyRidgeEdit(edit, weight).weight.settled();
          });
      });
  }
  return { seconds, peakBytes: peakBytes() };
}
