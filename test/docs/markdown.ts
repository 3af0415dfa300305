import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

const ROOT = resolve(__dirname, "../..");

/** A block of code in a text, between its fences. */
export interface CodeBlock {
  language: string;
  /** Of its first line, from 1. */
  line: number;
  code: string;
}

/** README.md, the guides, and what the examples say of themselves, as paths from the repository's root. */
export function guides(): string[] {
  const below = (folder: string, name: RegExp) =>
    readdirSync(join(ROOT, folder))
      .filter((entry) => name.test(entry))
      .map((entry) => join(folder, entry));
  const examples = below("examples", /^[a-z-]+$/)
    .map((folder) => join(folder, "README.md"))
    .filter((path) => existsSync(join(ROOT, path)));
  return ["README.md", ...below("docs", /\.md$/), ...examples];
}

export function read(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

export function codeBlocks(text: string): CodeBlock[] {
  return [...text.matchAll(/^```(\w+)\n([^]*?)^```$/gm)].map(({ index, 1: language, 2: code }) => ({
    language: language!,
    line: text.slice(0, index).split("\n").length + 1,
    code: code!,
  }));
}

/** The commands of a block for a shell, as words, without comments. */
export function commands({ code }: CodeBlock): string[][] {
  return code
    .replaceAll("\\\n", " ")
    .split("\n")
    .map((line) => [...line.matchAll(/(?<!\S)#.*|"([^"]*)"|'([^']*)'|\S+/g)])
    .map((words) =>
      words
        .filter(([word]) => !word.startsWith("#"))
        .map(([word, double, single]) => double ?? single ?? word),
    )
    .filter((words) => words.length > 0);
}

/**
 * The TypeScript of a text as one module of as many lines: each block sees what those before it have declared, and may
 * declare it anew.
 */
export function moduleOf(text: string): string {
  const lines = text.split("\n").map(() => "");
  const imports: string[] = [];
  const blocks = codeBlocks(text).filter(({ language }) => language === "ts");
  for (const { line, code } of blocks) {
    const own = code.replace(/^import [^;]*;$/gm, (statement) => {
      imports.push(statement.replaceAll("\n", " "));
      return statement.replace(/[^\n]/g, "");
    });
    lines[line - 2] = "{";
    own.split("\n").forEach((content, i) => (lines[line - 1 + i] ||= content));
  }
  return `${[...new Set(imports), "export {};"].join(" ")} ${lines.join("\n")}${"}".repeat(blocks.length)}`;
}

/** Links of a guide to files, folders and headings that are not there. */
export function brokenLinks(path: string): string[] {
  const outside = read(path).replace(/^```[^]*?^```$/gm, "");
  const targets = [...outside.matchAll(/\]\(([^)\s]+)\)|src="([^"]+)"/g)].map(
    ([, link, image]) => link ?? image!,
  );
  return targets
    .filter((target) => !/^https?:/.test(target))
    .filter((target) => {
      const [file, heading] = target.split("#") as [string, string?];
      const place = file === "" ? join(ROOT, path) : join(ROOT, dirname(path), file);
      if (!existsSync(place)) return true;
      if (heading === undefined) return false;
      return statSync(place).isDirectory() || !headings(read(relative(ROOT, place))).includes(heading);
    });
}

/** Anchors of headings, as GitHub makes them. */
function headings(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .replaceAll(" ", "-"),
  );
}
