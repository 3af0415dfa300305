import { CsvError, parse } from "csv-parse/sync";
import { finite, integer, invalid, knownKeys, nonEmptyString } from "../check";
import { KpopError } from "../errors";
import { excerpt } from "../files/excerpt";
import { readText } from "../files/json-file";
import { FormError, readInteger, readNumber } from "../options/read";

/** What one row of a prompt file asks for. */
export interface PromptRow {
  prompt: string;
  /** Seed of its noise. */
  seed?: number;
  /** What it is to show, as a classifier knows it. */
  class?: string;
  /** What it is to show besides, of another domain: the object of a picture in a style. */
  crossClass?: string;
  /** What its file calls it. */
  case?: string;
  guidanceScale?: number;
  /** Pixels. */
  width?: number;
  height?: number;
}

/** How a prompt file is read. */
export interface ReadPromptsOptions {
  /** The column of the prompts, where it has another name; "line" where each line of the file is a prompt. */
  column?: string | undefined;
  /** The prompt of a row that has a name alone. */
  fill(name: string): string;
}

/** Names that published files give to columns; the first that is there counts. */
const COLUMNS = {
  prompt: ["prompt", "text"],
  name: ["concept", "noun"],
  seed: ["evaluation_seed", "seed", "sd_seed"],
  class: ["class", "concept"],
  crossClass: ["cross_class"],
  case: ["case_number"],
  guidanceScale: ["evaluation_guidance", "guidance", "guidance_scale", "sd_guidance_scale"],
  width: ["width", "sd_image_width"],
  height: ["height", "sd_image_height"],
} as const;

type Column = keyof typeof COLUMNS;

/** One row's cells, with the line that it ends on. */
interface Line {
  readonly cells: readonly string[];
  readonly line: number;
}

/**
 * Prompts with their seeds and settings, in the layouts of I2P, of the lists of ESD (COCO, Imagenette) and of those who
 * followed it, of Six-CD and of HUB: a CSV with a header; or, in a ".txt" or with `column` "line", a prompt on each line.
 * @throws INVALID_ARGUMENT (columns that are missing, naming those that are there; a value of the wrong form, naming its
 *   line), NOT_FOUND, IO_ERROR
 */
export async function readPrompts(path: string, options: ReadPromptsOptions): Promise<PromptRow[]> {
  const text = await readText(path);
  const lines = options.column === "line" || (options.column === undefined && /\.txt$/i.test(path));
  const rows = lines ? promptLines(text) : table(path, text, options);
  if (rows.length === 0) throw wrong(`Expected prompts in ${path}, but it has none`);
  return rows;
}

const ROW_KEYS = ["prompt", "seed", "class", "crossClass", "case", "guidanceScale", "width", "height"];

/** Rows that a caller gives in the place of a file. @throws INVALID_ARGUMENT */
export function checkPromptRows(name: string, rows: unknown): PromptRow[] {
  if (!Array.isArray(rows) || rows.length === 0)
    throw invalid(name, "the path of a prompt file, or a non-empty list of rows,", rows);
  return rows.map((row: PromptRow, i) => {
    const at = `${name}[${i}]`;
    knownKeys(at, row, ROW_KEYS);
    for (const key of ["prompt", "class", "crossClass", "case"] as const)
      if (row[key] !== undefined || key === "prompt") nonEmptyString(`${at}.${key}`, row[key]);
    if (row.seed !== undefined) integer(`${at}.seed`, row.seed, 0);
    if (row.guidanceScale !== undefined) finite(`${at}.guidanceScale`, row.guidanceScale, 0);
    for (const key of ["width", "height"] as const)
      if (row[key] !== undefined) integer(`${at}.${key}`, row[key], 1);
    return { ...row };
  });
}

function promptLines(text: string): PromptRow[] {
  const lines = text.split("\n").map((line) => line.trim());
  return lines.filter((line) => line !== "").map((prompt) => ({ prompt }));
}

function table(path: string, text: string, options: ReadPromptsOptions): PromptRow[] {
  const [header, ...lines] = parseCsv(path, text);
  const names = (header?.cells ?? []).map((name) => name.trim());
  const places = placesOf(path, names, options.column);
  return lines.map((line) => {
    const cell = (column: Column): string | undefined => {
      const found = line.cells[places.get(column) ?? -1]?.trim();
      return found === "" ? undefined : found;
    };
    const number = (column: Column, read: (cell: string) => number): number | undefined => {
      const found = cell(column);
      try {
        return found === undefined ? undefined : read(found);
      } catch (error) {
        if (!(error instanceof FormError)) throw error;
        const name = names[places.get(column)!]!;
        throw wrong(`Line ${line.line} of ${path} has ${name} ${quote(found!)}. ${error.message}`);
      }
    };
    const name = cell("name");
    const prompt = cell("prompt") ?? (name === undefined ? undefined : options.fill(name));
    if (prompt === undefined) throw wrong(`Line ${line.line} of ${path} has no prompt`);
    return given({
      prompt,
      seed: number("seed", readSeed),
      class: cell("class"),
      crossClass: cell("crossClass"),
      case: cell("case"),
      guidanceScale: number("guidanceScale", readNumber),
      width: number("width", readInteger),
      height: number("height", readInteger),
    });
  });
}

function parseCsv(path: string, text: string): Line[] {
  try {
    const records = parse(text, { bom: true, info: true, skip_empty_lines: true }) as unknown as readonly {
      record: string[];
      info: { lines: number };
    }[];
    return records.map(({ record, info }) => ({ cells: record, line: info.lines }));
  } catch (cause) {
    if (!(cause instanceof CsvError)) throw cause;
    const advice = 'name "line" as the prompt column where each line is a prompt';
    throw wrong(`${path} is no CSV: ${cause.message}; ${advice}`, cause);
  }
}

/** The places of columns that are there. @throws INVALID_ARGUMENT without one that prompts can come from */
function placesOf(path: string, names: readonly string[], column: string | undefined): Map<Column, number> {
  const lower = names.map((name) => name.toLowerCase());
  const known = { ...COLUMNS, ...(column === undefined ? {} : { prompt: [column.toLowerCase()] }) };
  const places = new Map<Column, number>();
  for (const [key, ones] of Object.entries(known) as [Column, readonly string[]][]) {
    const place = ones.map((name) => lower.indexOf(name)).find((at) => at >= 0);
    if (place !== undefined) places.set(key, place);
  }
  if (places.has("prompt") || (column === undefined && places.has("name"))) return places;
  const there = excerpt(names.join(", "));
  if (column !== undefined) throw wrong(`${path} has no column ${quote(column)}; it has ${there}`);
  throw wrong(
    `Expected ${path} to have a column prompt or text, or concept or noun with a name, but its columns are ${there}; name another as the prompt column, or "line" where each line is a prompt`,
  );
}

function readSeed(cell: string): number {
  const seed = readInteger(cell);
  if (seed < 0) throw new FormError("Expected a whole number >= 0.");
  return seed;
}

function given(row: { [K in keyof PromptRow]: PromptRow[K] | undefined }): PromptRow {
  return Object.fromEntries(
    Object.entries(row).filter(([, value]) => value !== undefined),
  ) as unknown as PromptRow;
}

function quote(text: string): string {
  return JSON.stringify(excerpt(text));
}

function wrong(message: string, cause?: unknown): KpopError {
  return new KpopError("INVALID_ARGUMENT", message, { cause });
}
