/** What YAML front matter is made of here. */
export type Yaml = string | number | readonly Yaml[] | { readonly [key: string]: Yaml };

const FRONT_MATTER = /^---\r?\n(.*?)\r?\n---(?:\r?\n|$)/s;
const ENTRY = /^([A-Za-z][\w-]*):(.*)$/;
const FIRST_ITEM = /^\s*-\s+(.*)$/;
/** Texts that YAML takes as they stand, and for nothing but a text. */
const PLAIN = /^(?!(?:true|false|null|yes|no|on|off|y|n)$)[a-z][a-z0-9/._-]*$/i;

/** YAML between two lines of dashes, as it stands at the head of a Markdown file that hubs read. */
export function frontMatter(fields: Readonly<Record<string, Yaml>>): string {
  return ["---", ...lines(fields), "---", ""].join("\n");
}

/** The texts in the first level of a Markdown file's front matter; of a list the first one. */
export function readFrontMatter(markdown: string): Record<string, string> {
  const found: Record<string, string> = {};
  const matter = (FRONT_MATTER.exec(markdown)?.[1] ?? "").split(/\r?\n/);
  for (const [i, line] of matter.entries()) {
    const [, key, inline] = ENTRY.exec(line) ?? [];
    if (key === undefined) continue;
    const written = plain(inline!);
    const value = written === "" ? plain(FIRST_ITEM.exec(matter[i + 1] ?? "")?.[1] ?? "") : written;
    if (value !== "") found[key] = value;
  }
  return found;
}

function lines(value: Exclude<Yaml, string | number>): string[] {
  const indented = (inner: readonly string[]): string[] => inner.map((line) => `  ${line}`);
  if (isList(value))
    return value.flatMap((item) => {
      const [head, ...rest] = isScalar(item) ? [scalar(item)] : lines(item);
      return [`- ${head}`, ...indented(rest)];
    });
  return Object.entries(value).flatMap(([key, item]) =>
    isScalar(item) ? [`${key}: ${scalar(item)}`] : [`${key}:`, ...indented(lines(item))],
  );
}

function isScalar(value: Yaml): value is string | number {
  return typeof value !== "object";
}

function isList(value: Yaml): value is readonly Yaml[] {
  return Array.isArray(value);
}

/** A JSON text is a YAML one, once what neither prints is out of it. */
function scalar(value: string | number): string {
  if (typeof value === "number") return String(value);
  return PLAIN.test(value) ? value : JSON.stringify(value.replace(/\p{C}/gu, " "));
}

/** A scalar without quotes and comment. */
function plain(written: string): string {
  const text = written.trim();
  const quoted = /^(?:"((?:[^"\\]|\\.)*)"|'((?:[^']|'')*)')/.exec(text);
  if (quoted === null) return text.replace(/(?:^|\s+)#.*$/, "").replace(/^[[{|>&*!].*$/, "");
  return quoted[1]?.replace(/\\(.)/g, "$1") ?? quoted[2]!.replaceAll("''", "'");
}
