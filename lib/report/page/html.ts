import type { Block, Cell, Grid, Row, Section, Table } from "./blocks";
import { colourOf } from "./palette";
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
  }
}

function table({ caption, columns, rows }: Table): string {
  const heads = columns.map(
    ({ title, help }) =>
      `<th scope="col"${help === undefined ? "" : ` title="${escape(help)}"`}><button type="button">${escape(title)}</button></th>`,
  );
  return `<div class="scroll"><table class="data">
<caption>${escape(caption)}</caption>
<thead><tr>${heads.join("")}</tr></thead>
<tbody>
${rows.map(tableRow).join("\n")}
</tbody>
</table></div>`;
}

function tableRow({ cells, look, published }: Row): string {
  const badge = published === true ? ' <span class="badge">published</span>' : "";
  const mark = look === undefined ? "" : `<i style="background:${colourOf(look)}"></i>`;
  const [first, ...rest] = cells;
  const head = `<th scope="row"${sortKey(first!)}>${mark}${escape(first!.text)}${badge}</th>`;
  const others = rest.map((cell) => `<td${sortKey(cell)}>${escape(cell.text)}${note(cell)}</td>`);
  return `<tr${published === true ? ' class="published"' : ""}>${head}${others.join("")}</tr>`;
}

function note({ note: text }: Cell): string {
  return text === undefined ? "" : `<small>${escape(text)}</small>`;
}

function sortKey({ sort }: Cell): string {
  return sort === undefined ? "" : ` data-sort="${sort}"`;
}

function grid({ caption, columns, sections }: Grid): string {
  const heads = columns.map((column) => `<th scope="col">${escape(column)}</th>`).join("");
  const bodies = sections.map(
    ({ title, rows }) => `<tbody>
<tr class="group"><th colspan="${columns.length + 1}" scope="rowgroup"><span>${escape(title)}</span></th></tr>
${rows
  .map(
    ({ prompt, pictures }) =>
      `<tr><th scope="row">${escape(prompt)}</th>${pictures
        .map((png, index) =>
          png === null
            ? "<td></td>"
            : `<td><img alt="${escape(`${prompt}: ${columns[index]}`)}" src="data:image/png;base64,${png}"></td>`,
        )
        .join("")}</tr>`,
  )
  .join("\n")}
</tbody>`,
  );
  return `<div class="scroll"><table class="pictures">
<caption>${escape(caption)}</caption>
<thead><tr><td></td>${heads}</tr></thead>
${bodies.join("\n")}
</table></div>`;
}

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** A text as it may stand in HTML and in its attributes. */
function escape(text: string): string {
  return text.replace(/[&<>"]/g, (character) => ENTITIES[character]!);
}
