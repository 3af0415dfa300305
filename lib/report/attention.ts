import type { ReportedModel } from "./models";
import { grid, text, type GridRow, type Section, type Shot } from "./page/blocks";
import type { PictureReader } from "./pictures";
import type { AttributionSource } from "./sources";

type Picture = AttributionSource["pictures"][number];

/** Values of the choice between maps. */
const [TOGETHER, APART] = ["all heads together", "each head"];

/** Where pictures attended to each word, model by model. */
export async function attentionSection(
  models: readonly ReportedModel[],
  reader: PictureReader,
): Promise<Section | null> {
  const all = models.flatMap(({ title, look, attributions }) =>
    attributions.map((source) => ({ source, look, title: source.withKey ? `${title} + key` : title })),
  );
  const titles = [...new Set(all.map(({ title }) => title))];
  if (titles.length === 0) return null;
  const columns = titles.map((title) => all.filter((one) => one.title === title));
  const pictures = all.flatMap(({ source }) => source.pictures);
  const drawn = new Map(pictures.map(({ prompt, seed }) => [`${seed} ${prompt}`, { prompt, seed }]));
  const sections = [];
  for (const { prompt, seed } of drawn.values()) {
    const own = pictures.filter((one) => one.prompt === prompt && one.seed === seed);
    const rows: GridRow[] = [];
    for (const { name, view, fileOf } of viewsOf(own)) {
      const shots: (Shot | null)[] = [];
      for (const column of columns) {
        const found = column.flatMap(({ source }) => source.pictures.map((picture) => ({ source, picture })));
        const shown = found.find(({ picture }) => own.includes(picture));
        const file = shown && fileOf(shown.picture);
        const png = file === undefined ? null : await reader.png(shown!.source.folder, file);
        shots.push(png === null ? null : { png, note: "", good: null });
      }
      rows.push({ prompt: name, pictures: shots, keys: { prompt, view } });
    }
    sections.push({ title: `${prompt} (seed ${seed})`, rows });
  }
  return {
    id: "attention",
    title: "Attention",
    blocks: [
      text(
        "Where a picture attended to each word while it was drawn: cross-attention, added up over steps, layers and heads (DAAM, arXiv 2210.04885). Red is most, in each map by itself; what is cold shows the picture.",
      ),
      grid({
        caption: "The same noise in a row",
        columns: titles,
        looks: columns.map((column) => column[0]!.look),
        sections,
        filters: [{ key: "prompt", title: "Prompt" }, { key: "view", title: "Show" }],
        choose: true,
      }),
    ],
  }; // prettier-ignore
}

/** What is shown of pictures of one prompt: the picture, each word's map, and each head's. */
function viewsOf(pictures: readonly Picture[]) {
  const words = [...new Set(pictures.flatMap((one) => one.words.map(({ word }) => word)))];
  return [
    {
      name: "the picture",
      view: TOGETHER,
      fileOf: (picture: Picture) => picture.file as string | undefined,
    },
    ...words.flatMap((word) => {
      const of = (picture: Picture) => picture.words.find((one) => one.word === word);
      const heads = Math.max(...pictures.map((picture) => of(picture)?.heads?.length ?? 0));
      return [
        { name: word, view: TOGETHER, fileOf: (picture: Picture) => of(picture)?.file },
        ...Array.from({ length: heads }, (_, head) => ({
          name: `${word}, head ${head + 1}`,
          view: APART,
          fileOf: (picture: Picture) => of(picture)?.heads?.[head],
        })),
      ];
    }),
  ];
}
