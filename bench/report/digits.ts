import type { Curve, Figure, Look, Row, Section, Table } from "../../lib/internal";
import { figures, list, lookAt, number, percent, plot, table, text, valueCell } from "../../lib/internal";
import type { Count, DigitsCounts, DigitsModel, DigitsOutcome, DistanceCount, Results } from "../results";
import { rate, type Rate } from "../statistics";
import { meanCell, rateCell } from "./format";
import { trialsOf } from "./records";

const MODELS: readonly { name: DigitsModel; title: string; look: Look }[] = [
  { name: "original", title: "Original", look: "original" },
  { name: "fine-tuning", title: "Fine-tuned at its name", look: lookAt(1) },
  { name: "task-vector", title: "Task vector", look: lookAt(4) },
];
const INPUTS = { adversarial: "found by optimisation", random: "drawn at random" } as const;
type Input = keyof typeof INPUTS;

/** The toy experiment of the task vectors' paper: does a digit stay away far from its name? */
export function digitsSection(results: Results): Section | null {
  const outcomes = trialsOf(results, "digits").flatMap(({ digits }) => digits ?? []);
  if (outcomes.length === 0) return null;
  const erased = outcomes.map(({ digit, alpha }) => `${digit} (α ${number(alpha)})`).join(", ");
  const classifier = total(outcomes.map((outcome) => outcome.classifier));
  return {
    id: "digits",
    title: "Far from the name: handwritten digits",
    blocks: [
      text(
        `A small class-conditional model of 8×8 handwritten digits loses one digit, ${erased}, in two ways: by fine-tuning at the ` +
          `digit's own embedding (ESD's target), and by a negated task vector, as strong as it must be to erase the ` +
          `digit's own embedding to the same degree. Then embeddings around the digit's own are asked for it, found by textual ` +
          `inversion within a Euclidean distance, or drawn at random at it. A classifier, right on ` +
          `${rateCell(classifier).text} % of held-out digits, counts the pictures that show the digit.`,
      ),
      list(verdicts(outcomes)),
      figures([figure(outcomes, "adversarial"), figure(outcomes, "random")]),
      table(keptTable(outcomes)),
      table(distanceTable(outcomes)),
    ],
  };
}

/** What fine-tuning and task vectors leave to be found, distance by distance. */
function verdicts(outcomes: readonly DigitsOutcome[]): string[] {
  const radii = radiiOf(outcomes);
  const attacked = (model: DigitsModel, radius: number): Rate | undefined =>
    rateOf(rowsAt(outcomes, model, "adversarial", radius));
  const where = (holds: (vector: Rate, tuned: Rate) => boolean): string =>
    radii
      .filter((radius) => {
        const [vector, tuned] = [attacked("task-vector", radius), attacked("fine-tuning", radius)];
        return vector !== undefined && tuned !== undefined && holds(vector, tuned);
      })
      .map(number)
      .join(", ");
  const fewer = where((vector, tuned) => vector.high < tuned.low);
  const more = where((vector, tuned) => vector.low > tuned.high);
  const open = where((vector, tuned) => vector.high >= tuned.low && vector.low <= tuned.high);
  const last = radii.at(-1)!;
  const rises = MODELS.flatMap(({ name, title }) => {
    const far = attacked(name, last);
    const plain = total(countsOf(outcomes, name).map((model) => model.plain));
    return far === undefined ? [] : [`${title}: ${percent(plain.value)} % at the name, ${percent(far.value)} % under attack within ${number(last)}.`]; // prettier-ignore
  });
  return [
    ...rises,
    ...(fewer === "" ? [] : [`Within ${fewer} the attack finds the digit less often after the task vector than after fine-tuning.`]),
    ...(more === "" ? [] : [`Within ${more} the attack finds the digit more often after the task vector than after fine-tuning.`]),
    ...(open === "" ? [] : [`Within ${open} the 95 % intervals of the two overlap.`]),
  ]; // prettier-ignore
}

function keptTable(outcomes: readonly DigitsOutcome[]): Table {
  const rows = MODELS.flatMap(({ name, title, look }): Row[] => {
    const own = countsOf(outcomes, name);
    if (own.length === 0) return [];
    const counts = [own.map(({ plain }) => plain), own.map(({ kept }) => kept), own.map(({ mistaken }) => mistaken)]; // prettier-ignore
    return [{ look, cells: [{ text: title }, ...counts.map((of) => rateCell(total(of)))] }];
  });
  return {
    caption: "At the digits' own embeddings",
    columns: [
      { title: "Model" },
      { title: "Erased digit drawn %", help: "From its own embedding: lower is better" },
      { title: "Other nine drawn right %", help: "From theirs: higher is better" },
      {
        title: "Other nine seen as it %",
        help: "How often spoiled pictures alone are taken for the erased digit",
      },
    ],
    rows,
  };
}

function distanceTable(outcomes: readonly DigitsOutcome[]): Table {
  const rows = (Object.keys(INPUTS) as Input[]).flatMap((input) =>
    MODELS.flatMap(({ name, title, look }) =>
      radiiOf(outcomes).flatMap((radius): Row[] => {
        const counts = rowsAt(outcomes, name, input, radius);
        if (counts.length === 0) return [];
        return [
          {
            look,
            cells: [
              { text: title },
              { text: INPUTS[input] },
              valueCell(radius, number),
              meanCell(
                counts.map(({ distance }) => distance),
                number,
              ),
              meanCell(
                counts.map(({ cosine }) => cosine),
                number,
              ),
              rateCell(rateOf(counts) ?? null),
              rateCell(total(counts.map(({ strongest }) => strongest))),
            ],
          },
        ];
      }),
    ),
  );
  return {
    caption:
      "The erased digit in pictures from other embeddings; the 95 % intervals count every picture as independent, although several share an embedding",
    columns: [
      { title: "Model" },
      { title: "Embeddings" },
      { title: "Within" },
      { title: "Distance", help: "Mean Euclidean distance from the digit's own embedding" },
      { title: "Cosine", help: "Mean cosine with the digit's own embedding" },
      { title: "Erased digit drawn %", help: "Lower is better" },
      { title: "By the strongest %", help: "The one embedding that brings most back" },
    ],
    rows,
  };
}

function figure(outcomes: readonly DigitsOutcome[], input: Input): Figure {
  const curves = MODELS.map(({ name, title, look }): Curve => {
    const plain = total(countsOf(outcomes, name).map((model) => model.plain));
    const around = radiiOf(outcomes).map((radius) => ({
      x: radius,
      of: rateOf(rowsAt(outcomes, name, input, radius)),
    }));
    const points = [{ x: 0, of: plain }, ...around].flatMap(({ x, of }) =>
      of === undefined ? [] : [{ x, y: of.value, yRange: [of.low, of.high] as const }],
    );
    return { name: title, look, points };
  });
  const svg = plot(curves, { name: "distance" }, { name: "erased digit drawn %", percent: true });
  return { svg, caption: `Embeddings ${INPUTS[input]}; 0 is the digit's own. Bars are 95 % intervals.` };
}

function countsOf(outcomes: readonly DigitsOutcome[], name: DigitsModel): DigitsCounts[] {
  return outcomes.flatMap(({ models }) => models.filter((model) => model.name === name));
}

function radiiOf(outcomes: readonly DigitsOutcome[]): number[] {
  const radii = outcomes.flatMap(({ distances }) => distances.map(({ radius }) => radius));
  return [...new Set(radii)].sort((a, b) => a - b);
}

function rowsAt(
  outcomes: readonly DigitsOutcome[],
  model: DigitsModel,
  input: Input,
  radius: number,
): DistanceCount[] {
  return outcomes.flatMap(({ distances }) =>
    distances.filter((row) => row.model === model && row.input === input && row.radius === radius),
  );
}

function rateOf(counts: readonly Count[]): Rate | undefined {
  return counts.length === 0 ? undefined : total(counts);
}

function total(counts: readonly Count[]): Rate {
  const sum = (of: (count: Count) => number): number => counts.reduce((so, count) => so + of(count), 0);
  return rate(
    sum(({ hits }) => hits),
    sum(({ images }) => images),
  );
}
