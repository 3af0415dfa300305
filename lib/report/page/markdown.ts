import type { Block, Section, Table } from "./blocks";

/** The sections as Markdown: words and tables; figures and pictures are in the HTML. */
export function toMarkdown(title: string, sections: readonly Section[]): string {
  const parts = sections.flatMap((section) => [`## ${section.title}`, ...section.blocks.flatMap(block)]);
  return `${[`# ${title}`, ...parts].join("\n\n")}\n`;
}

function block(of: Block): string[] {
  switch (of.kind) {
    case "text":
      return [of.text];
    case "list":
      return [of.items.map((item) => `- ${item}`).join("\n")];
    case "table":
      return [`**${of.table.caption}**`, table(of.table)];
    case "tiles":
      return [
        of.tiles
          .map(({ label, value, note }) => `- ${label}: **${value}**${note && ` (${note})`}`)
          .join("\n"),
      ];
    case "facts":
      return [of.facts.map(([name, value]) => `- ${name}: ${value}`).join("\n")];
    case "code":
      return [["```", ...of.lines, "```"].join("\n")];
    case "details":
      return [`**${of.title}**`, ...of.blocks.flatMap(block)];
    case "figures":
    case "grid":
      return [];
  }
}

function table({ columns, rows }: Table): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [
    line(columns.map(({ title }) => title)),
    `|${columns.map((_, index) => (index === 0 ? "---" : "---:")).join("|")}|`,
    ...rows.map(({ cells, published }) =>
      line(
        cells.map(
          ({ text, note }, index) =>
            `${index === 0 && published ? "_published:_ " : ""}${text}${note === undefined ? "" : ` (${note})`}`,
        ),
      ),
    ),
  ].join("\n");
}
