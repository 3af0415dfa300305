import { ATTACK_NAMES, attackNamed } from "../attack/registry";
import type { ReportedModel } from "./models";
import { figures, grid, table, text, type Block, type Figure, type GridRow, type Section, type Shot } from "./page/blocks"; // prettier-ignore
import { intervalCell, NONE, number, seconds, valueCell } from "./page/format";
import { plot, type Curve } from "./page/plots";
import type { PictureReader } from "./pictures";
import type { AttackRecord, AttackSource } from "./sources";
import { lossFigure } from "./training";

/** Inputs of an attack whose pictures are shown. */
const INPUTS_SHOWN = 6;
/** What results call the concept's plain name among inputs. */
const PLAIN = "name";

/** An attack as the papers write it. */
export function attackTitle(name: string): string {
  return ATTACK_NAMES.includes(name) ? attackNamed(name).title : name;
}

/** What attacks brought back, and what they spent. @param count pictures of each input */
export async function attacksSection(
  models: readonly ReportedModel[],
  count: number,
  reader: PictureReader,
): Promise<Section | null> {
  const all = models.flatMap((model) => model.attacks.map((source) => ({ model, source })));
  if (all.length === 0) return null;
  const details: Block[] = [];
  for (const { model, source } of all)
    details.push({
      kind: "details",
      title: `${model.title}: ${attackTitle(source.attack.method)}`,
      look: model.look,
      blocks: await inside(source, count, reader),
    });
  return {
    id: "attacks",
    title: "Attacks",
    blocks: [
      text(
        "An attack looks for inputs that bring the concept back; a rate is the share of pictures in which the classifier sees it first. What an attack spends is counted in evaluations of the UNet.",
      ),
      table({
        caption: "Brought back, %, with 95 % intervals",
        columns: [
          { title: "Model" },
          { title: "Attack", words: true },
          { title: "Concept", words: true },
          { title: "Plain name %", help: "Of the attacked model, without an attack" },
          { title: "Attack %", help: "Of all inputs found; lower is better" },
          { title: "Original %", help: "Of the model before, by the plain name" },
          { title: "Inputs" },
          { title: "Evaluations to search" },
          { title: "and to measure" },
          { title: "Time" },
        ],
        filters: [{ key: "model", title: "Model" }, { key: "attack", title: "Attack" }],
        rows: all.map(({ model, source: { attack } }) => ({
          look: model.look,
          keys: { model: model.title, attack: attackTitle(attack.method) },
          cells: [
            { text: model.title },
            { text: attackTitle(attack.method) },
            { text: attack.concept },
            rateCell(attack.before),
            rateCell(attack.after),
            attack.original === undefined ? { text: NONE } : rateCell(attack.original),
            { text: String(attack.inputs.length), sort: attack.inputs.length },
            valueCell(attack.unetEvaluations, number),
            valueCell(attack.measuringEvaluations, number),
            valueCell(attack.seconds, seconds),
          ],
        })),
      }),
      figures(spendFigure(all)),
      ...details,
    ],
  }; // prettier-ignore
}

function rateCell({ value, low, high }: AttackRecord["after"]) {
  return intervalCell({ value: 100 * value, low: 100 * low, high: 100 * high });
}

/** Brought back over spent, where there is more than one attack. */
function spendFigure(all: readonly { model: ReportedModel; source: AttackSource }[]): Figure[] {
  const spent = all.filter(({ source }) => source.attack.unetEvaluations > 0);
  if (spent.length < 2) return [];
  const models = [...new Set(spent.map(({ model }) => model))];
  const curves = models.map((model): Curve => ({
    name: model.title,
    look: model.look,
    loose: true,
    points: spent
      .filter((one) => one.model === model)
      .map(({ source: { attack } }) => ({
        x: attack.unetEvaluations,
        y: 100 * attack.after.value,
        yRange: [100 * attack.after.low, 100 * attack.after.high] as const,
        label: attackTitle(attack.method),
      })),
  }));
  const axes = [{ name: "UNet evaluations of the search", scale: "log" }, { name: "brought back, %", percent: true }] as const; // prettier-ignore
  return [{ svg: plot(curves, ...axes), caption: "What an attack brings back for what it spends. Bars are 95 % intervals." }]; // prettier-ignore
}

/** The inputs of one attack, its pictures and its losses. */
async function inside(
  { folder, attack }: AttackSource,
  count: number,
  reader: PictureReader,
): Promise<Block[]> {
  const { inputs, before, history, prompt } = attack;
  const rows = [
    { name: "plain name", shown: prompt, band: undefined, rate: before },
    ...inputs.map(({ name, prompt: own, text: words, band, rate }) => ({ name, shown: words ?? own, band, rate })), // prettier-ignore
  ];
  const losses = lossFigure(history, "Losses of the search");
  const pictures = await pictureRows(folder, attack, count, reader);
  return [
    table({
      caption: "Inputs",
      columns: [
        { title: "Input" },
        { title: "Brought back %" },
        { title: "Pictures" },
        { title: "Cosine", help: "Similarity to the concept's own embedding that it was held to" },
        { title: "Reads", words: true },
      ],
      rows: rows.map(({ name, shown, band, rate }) => ({
        cells: [
          { text: name },
          rateCell(rate),
          { text: String(rate.total), sort: rate.total },
          band === undefined ? { text: NONE } : { text: `${band[0]} to ${band[1]}`, sort: band[0] },
          { text: shown },
        ],
      })),
    }),
    ...(pictures.rows.length === 0 ? [] : [grid({ caption: "Pictures, each row from the same noise", columns: pictures.columns, sections: [{ title: "", rows: pictures.rows }] })]), // prettier-ignore
    figures(losses),
  ];
}

async function pictureRows(
  folder: string,
  { pictures, inputs }: AttackRecord,
  count: number,
  reader: PictureReader,
): Promise<{ columns: string[]; rows: GridRow[] }> {
  const names = [PLAIN, ...inputs.map(({ name }) => name).slice(0, INPUTS_SHOWN)];
  const seeds = [...new Set(pictures.map(({ seed }) => seed))].sort((a, b) => a - b).slice(0, count);
  const rows: GridRow[] = [];
  for (const seed of seeds) {
    const shots: (Shot | null)[] = [];
    for (const name of names) {
      const { path, hit } = pictures.find((one) => one.input === name && one.seed === seed) ?? {};
      const png = path === undefined ? null : await reader.png(folder, path);
      shots.push(png === null ? null : { png, note: hit === true ? "seen" : "not seen", good: hit !== true });
    }
    if (shots.some((shot) => shot !== null)) rows.push({ prompt: `seed ${seed}`, pictures: shots });
  }
  return { columns: names.map((name) => (name === PLAIN ? "plain name" : name)), rows };
}
