import type {
  Block,
  Cell,
  Column,
  Filter,
  Grid,
  GridRow,
  Keys,
  Row,
  Section,
  Shot,
  Table,
  Tile,
} from "./blocks";
import { colourOf, type Look } from "./palette";
import { SCRIPT } from "./script";
import { STYLE } from "./style";

/** The sections as one page that needs nothing else: style, script, figures and pictures are in it. */
export function toHtml(title: string, subtitle: string, sections: readonly Section[]): string {
  const links = sections.map(({ id, title: name }) => `<a href="#${id}">${escape(name)}</a>`).join("\n");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escape(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<header>
<h1>${escape(title)}</h1>
<p>${escape(subtitle)}</p>
<nav aria-label="Sections">
${links}
</nav>
</header>
<main>
${sections.map(section).join("\n")}
</main>
<script>${SCRIPT}</script>
</body>
</html>
`;
}

function section({ id, title, blocks }: Section): string {
  return `<section id="${id}">\n<h2>${escape(title)}</h2>\n${blocks.map(block).join("\n")}\n</section>`;
}

function block(of: Block): string {
  switch (of.kind) {
    case "text":
      return `<p>${escape(of.text)}</p>`;
    case "list":
      return `<ul>${of.items.map((item) => `<li>${escape(item)}</li>`).join("")}</ul>`;
    case "table":
      return table(of.table);
    case "figures":
      if (of.figures.length === 0) return "";
      return `<div class="figures">${of.figures
        .map(
          ({ svg, caption }) =>
            `<figure><div role="img" aria-label="${escape(caption)}">${svg}</div><figcaption>${escape(caption)}</figcaption></figure>`,
        )
        .join("\n")}</div>`;
    case "grid":
      return grid(of.grid);
    case "tiles":
      return `<div class="tiles">${of.tiles.map(tile).join("\n")}</div>`;
    case "facts":
      return `<dl>${of.facts
        .map(([name, value]) => `<dt>${escape(name)}</dt><dd>${escape(value)}</dd>`)
        .join("\n")}</dl>`;
    case "code":
      return `<div class="code"><button type="button">Copy</button><pre>${of.lines.map((line) => `<code>${escape(line)}</code>`).join("\n")}</pre></div>`;
    case "details":
      return `<details><summary>${mark(of.look)}${escape(of.title)}</summary>\n${of.blocks.map(block).join("\n")}\n</details>`;
  }
}

function tile({ label, value, note, look }: Tile): string {
  return `<div class="tile"><h3>${mark(look)}${escape(label)}</h3><b>${escape(value)}</b><small>${escape(note)}</small></div>`;
}

function table({ caption, columns, rows, filters = [] }: Table): string {
  const heads = columns.map(
    ({ title, help, words }) =>
      `<th scope="col"${leftIf(words)}${help === undefined ? "" : ` title="${escape(help)}"`}><button type="button">${escape(title)}</button></th>`,
  );
  const choices = filterBar(filters, rows);
  return `${choices}<div class="scroll"><table class="data">
<caption>${escape(caption)}</caption>
<thead><tr>${heads.join("")}</tr></thead>
<tbody>
${rows.map((row) => tableRow(row, columns)).join("\n")}
</tbody>
</table></div>${choices === "" ? "" : "</div>"}`;
}

function tableRow({ cells, look, published, keys }: Row, columns: readonly Column[]): string {
  const badge = published === true ? ' <span class="badge">published</span>' : "";
  const [first, ...rest] = cells;
  const head = `<th scope="row"${sortKey(first!)}>${mark(look)}${escape(first!.text)}${badge}</th>`;
  const left = (index: number): string => leftIf(columns[index + 1]?.words);
  const others = rest.map(
    (cell, index) => `<td${left(index)}${sortKey(cell)}>${escape(cell.text)}${small(cell)}</td>`,
  );
  return `<tr${published === true ? ' class="published"' : ""}${dataOf(keys)}>${head}${others.join("")}</tr>`;
}

function leftIf(words: boolean | undefined): string {
  return words === true ? ' class="words"' : "";
}

function mark(look: Look | undefined): string {
  return look === undefined ? "" : `<i style="background:${colourOf(look)}"></i>`;
}

function small({ note }: Cell): string {
  return note === undefined ? "" : `<small>${escape(note)}</small>`;
}

function sortKey({ sort }: Cell): string {
  return sort === undefined ? "" : ` data-sort="${sort}"`;
}

function dataOf(keys: Keys = {}): string {
  const entries = Object.entries(keys).map(([key, value]) => ` data-${key}="${escape(value)}"`);
  return entries.join("");
}

/** Opens what the choices of rows are for, with them before it; nothing where there is none to make. */
function filterBar(
  filters: readonly Filter[],
  rows: readonly { keys?: Keys }[],
  columns: readonly string[] = [],
  looks: readonly Look[] = [],
): string {
  const selects = filters.flatMap(({ key, title }) => {
    const values = [...new Set(rows.flatMap(({ keys }) => keys?.[key] ?? []))];
    if (values.length < 2) return [];
    const options = ["", ...values].map(
      (value) => `<option value="${escape(value)}">${escape(value || "all")}</option>`,
    );
    return [`<label>${escape(title)} <select data-key="${key}">${options.join("")}</select></label>`];
  });
  const boxes = columns.map(
    (column, index) =>
      `<label class="chip"><input type="checkbox" checked data-column="${index + 1}">${mark(looks[index])}${escape(column)}</label>`,
  );
  if (selects.length === 0 && boxes.length === 0) return "";
  const shown = boxes.length === 0 ? "" : `<div class="chips">${boxes.join("")}</div>`;
  return `<div class="filtered"><div class="filters">${selects.join("")}${shown}<output></output></div>`;
}

function grid({ caption, columns, looks = [], sections, filters = [], choose = false }: Grid): string {
  const heads = columns.map((column, index) => `<th scope="col">${mark(looks[index])}${escape(column)}</th>`);
  const bodies = sections.map(
    ({ title, rows }) => `<tbody>
${title === "" ? "" : `<tr class="group"><th colspan="${columns.length + 1}" scope="rowgroup"><span>${escape(title)}</span></th></tr>\n`}${rows.map((row) => gridRow(row, columns)).join("\n")}
</tbody>`,
  );
  const all = sections.flatMap(({ rows }) => rows);
  const choices = filterBar(filters, all, choose && columns.length > 1 ? columns : [], looks);
  // Where columns are few, there is room for larger pictures.
  const marked = looks.length > 0 || sections.some(({ rows }) => rows.some((row) => row.look !== undefined));
  const size = marked ? ` style="--columns: ${columns.length}"` : "";
  return `${choices}<div class="scroll"><table class="pictures"${size}>
<caption>${escape(caption)}</caption>
<thead><tr><td></td>${heads.join("")}</tr></thead>
${bodies.join("\n")}
</table></div>${choices === "" ? "" : "</div>"}`;
}

/** Letters of a prompt that is cut after some lines, but where its row is shown large. */
const LONG = 80;

function gridRow({ prompt, look, note, pictures, keys }: GridRow, columns: readonly string[]): string {
  const cells = pictures.map((picture, index) => {
    if (picture === null) return "<td></td>";
    const shot: Partial<Shot> & Pick<Shot, "png"> = typeof picture === "string" ? { png: picture } : picture;
    const words = (shot.note ?? "") === "" ? "" : `<small${verdict(shot.good)}>${escape(shot.note!)}</small>`;
    const more = shot.more === undefined ? "" : `<small class="more">${escape(shot.more)}</small>`;
    const alt = escape(`${prompt}: ${columns[index]}`);
    return `<td><img alt="${alt}" src="data:image/png;base64,${shot.png}">${words}${more}</td>`;
  });
  const below = note === undefined ? "" : `<small>${escape(note)}</small>`;
  const asked = `${mark(look)}${escape(prompt)}`;
  const head = prompt.length > LONG ? `<span class="long">${asked}</span>` : asked;
  return `<tr${dataOf(keys)}><th scope="row">${head}${below}</th>${cells.join("")}</tr>`;
}

function verdict(good: boolean | null | undefined): string {
  return good === true ? ' class="good"' : good === false ? ' class="bad"' : "";
}

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** A text as it may stand in HTML and in its attributes. */
function escape(text: string): string {
  return text.replace(/[&<>"]/g, (character) => ENTITIES[character]!);
}
