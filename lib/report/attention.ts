import type { ReportedModel } from "./models";
import { grid, text, type Block, type GridRow, type Section } from "./page/blocks";
import type { PictureReader } from "./pictures";
import type { AttributionSource } from "./sources";

type Picture = AttributionSource["pictures"][number];

/** Where pictures attended to each word: a grid for each prompt, a column for each word, a row for each model. */
export async function attentionSection(
  models: readonly ReportedModel[],
  reader: PictureReader,
): Promise<Section | null> {
  const all = models.flatMap(({ title, look, attributions }) =>
    attributions.flatMap(({ folder, withKey, pictures }) =>
      pictures.map((picture) => ({ folder, look, picture, title: withKey ? `${title} + key` : title })),
    ),
  );
  if (all.length === 0) return null;
  const drawn = new Map(all.map(({ picture: { prompt, seed } }) => [`${seed} ${prompt}`, { prompt, seed }]));
  const grids: Block[] = [];
  for (const { prompt, seed } of drawn.values()) {
    const own = all.filter(({ picture }) => picture.prompt === prompt && picture.seed === seed);
    const words = [...new Set(own.flatMap(({ picture }) => picture.words.map(({ word }) => word)))];
    const rows: GridRow[] = [];
    for (const { folder, look, picture, title } of own)
      for (const { name, view, files } of viewsOf(picture, words)) {
        const pictures: (string | null)[] = [];
        for (const file of files) pictures.push(file === undefined ? null : await reader.png(folder, file));
        const keys = { model: title, view };
        rows.push({ prompt: title, look, keys, pictures, ...(name === "" ? {} : { note: name }) });
      }
    grids.push(
      grid({
        caption: `“${prompt}”, seed ${seed}`,
        columns: ["the picture", ...words],
        sections: [{ title: "", rows }],
        filters: [{ key: "view", title: "Show" }, { key: "model", title: "Model" }],
      }),
    ); // prettier-ignore
  }
  return {
    id: "attention",
    title: "Attention",
    blocks: [
      text(
        "Where a picture attended to each word while it was drawn: cross-attention, added up over steps, layers and heads (DAAM, arXiv 2210.04885). Red is most, in each map by itself; what is cold shows the picture.",
      ),
      ...grids,
    ],
  };
}

/** The rows of a picture: all heads together, and each by itself where there are maps of it. */
function viewsOf(picture: Picture, words: readonly string[]) {
  const found = words.map((word) => picture.words.find((one) => one.word === word));
  const heads = Math.max(0, ...found.map((word) => word?.heads?.length ?? 0));
  return [
    { name: "", view: "all heads together", files: [picture.file, ...found.map((word) => word?.file)] },
    ...Array.from({ length: heads }, (_, head) => ({
      name: `head ${head + 1}`,
      view: "each head",
      files: [undefined, ...found.map((word) => word?.heads?.[head])],
    })),
  ];
}
