import { cpSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { Comparison } from "../../../lib/evaluation/evaluate";
import type { EvaluatedPicture, Evaluation } from "../../../lib/evaluation/evaluation";
import { writeReport, type Report } from "../../../lib/report/write-report";
import { describeInBrowser } from "../../support/browser";
import { comparedModels, LONG_PROMPT, type ComparedModels } from "../../support/compared-models";
import { editJson } from "../../support/reported-erasure";
import { temporaryDirectory } from "../../support/temporary-directory";

let made: ComparedModels;
beforeAll(async () => {
  made = await comparedModels();
});

interface Written {
  report: Report;
  html: string;
  file: string;
}

const page = async (folders: readonly string[], pictures?: number): Promise<Written> => {
  const file = join(temporaryDirectory(), "report.html");
  const report = await writeReport(folders, file, pictures === undefined ? {} : { pictures });
  return { report, html: readFileSync(file, "utf8"), file };
};
const read = <T>(folder: string): T => JSON.parse(readFileSync(join(folder, "evaluation.json"), "utf8")) as T;
const png = ({ path }: EvaluatedPicture): string => readFileSync(path).toString("base64");

/** Rows of the table with a caption, as texts of cells; notes stand after a line break. */
function tableOf(html: string, caption: string): string[][] {
  const start = html.indexOf(`<caption>${caption}`);
  if (start < 0) throw new Error(`the page has no table "${caption}"`);
  const body = html.slice(start, html.indexOf("</table>", start));
  return [...body.matchAll(/<tr[^>]*>(.*?)<\/tr>/gs)].map(([, row]) =>
    [...row!.matchAll(/<t[hd][^>]*>(.*?)<\/t[hd]>/gs)].map(([, cell]) =>
      cell!.replace(/<img[^>]*>/g, "[picture]").replace(/<small[^>]*>/g, "\n").replace(/<[^>]+>/g, ""),
    ),
  ); // prettier-ignore
}

const percent = ({ value, low, high }: { value: number; low: number; high: number }): string =>
  [value, `\n${(100 * low).toFixed(1)}–${(100 * high).toFixed(1)}`]
    .map((part) => (typeof part === "number" ? (100 * part).toFixed(1) : part))
    .join("");

describe("a page of several models", () => {
  let html: string;
  let report: Report;
  let result: Comparison;
  beforeAll(async () => {
    ({ html, report } = await page([made.classes, made.result]));
    result = read(made.classes);
  });

  it("has each under its name among the erasures, and their pictures of one seed in a row", () => {
    expect(report).toMatchObject({ models: ["Original", "KPOP"], evaluations: 3, missing: 0, pictures: 27 });
    const [heads, ...rows] = tableOf(html, "Asked for the same");
    expect(heads).toEqual(["", "Original", "KPOP", "KPOP + key"]);
    expect(rows.map(([head]) => head)).toEqual([
      ...["to go", ...[0, 1, 2].map((seed) => `church\nseed ${seed}`)],
      ...["to stay", ...[0, 1, 2].map((seed) => `dog\nseed ${seed}`)],
      ...["of another domain", ...[0, 1, 2].map((seed) => `owl\nseed ${seed}`)],
    ]);
    const row = /<tr data-group="to go" data-class="church"><th scope="row">church<small>seed 1<\/small>.*?<\/tr>/s.exec(html)![0]; // prettier-ignore
    const places = result.models.map(({ pictures }) =>
      row.indexOf(png(pictures.find((one) => one.class === "church" && one.seed === 1)!)),
    );
    expect(places[0]).toBeGreaterThan(0);
    expect([...places].sort((a, b) => a - b)).toEqual(places);
  });

  it("gives rates, UA, IRA and CRA of each with their intervals", () => {
    const [heads, ...rows] = tableOf(html, "Erased and kept");
    expect(heads).toEqual(["Model", "ESR-1 %", "PSR-1 %", "UA %", "IRA %", "CRA %", "Pictures"]);
    expect(rows).toEqual(
      result.models.map(({ esr, psr, accuracy }, i) => [
        ["Original", "KPOP", "KPOP + key"][i],
        ...[esr[1]!, psr[1]!, accuracy!.ua!, accuracy!.ira!, accuracy!.cra!].map(percent),
        "9",
      ]),
    );
    const owls = tableOf(html, "Pictures in which the class").find(([name]) => name === "owl")!;
    expect(owls).toEqual([
      ...["owl", "of another domain", "a photo of a owl"],
      ...result.models.map(({ crossClasses }) => percent(crossClasses![0]!.accuracy)),
    ]);
  });

  it("gives differences from the first picture by picture, with intervals and tests", () => {
    const [, ...rows] = tableOf(html, "Picture by picture");
    const signed = (value: number) => `${value < 0 ? "" : "+"}${(100 * value).toFixed(1)}`;
    expect(rows).toEqual(
      result.differences.map(({ model, measure, first, second, value, low, high, onlyFirst, onlySecond, p, total }) => [
        ...[model === "no-church" ? "KPOP" : "KPOP + key", measure, "Original"],
        ...[second, first].map((share) => (100 * share).toFixed(1)),
        `${signed(value)}\n${signed(low)} to ${signed(high)}`,
        ...[onlySecond, onlyFirst].map(String),
        ...[p!.toFixed(3), String(total)],
      ]),
    ); // prettier-ignore
    expect(rows.map(([, measure]) => measure)).toEqual(["ESR-1", "PSR-1", "CRA", "ESR-1", "PSR-1", "CRA"]);
  });

  it("gives what metrics say of each, and what judged", () => {
    const [heads, pictures, ...rows] = tableOf(html, "Measures of all pictures");
    expect([heads, pictures]).toEqual([
      // The first has nothing to be compared with.
      ["Measure", "KPOP", "KPOP + key"],
      ["Pictures", "9", "9"],
    ]);
    const distances = result.models.slice(1).map(({ metrics }) => metrics!.cmmd!);
    const cell = (group: "all" | "erased" | "preserved") =>
      distances.map((of) => of[group]!.value.toFixed(3));
    expect(rows).toEqual([
      ["CMMD", ...cell("all")],
      ["CMMD, erased", ...cell("erased")],
      ["CMMD, preserved", ...cell("preserved")],
    ]);
    const { judge } = distances[0]!;
    expect(html).toContain(`<dt>CMMD: clip</dt><dd>${judge.sha256}</dd>`);
    expect(html).toContain("<code>kpop-native evaluate base no-church</code>");
  });

  it("calls models by their own names where no erasure is given, and claims nothing of the first", async () => {
    const { report: alone, html: plain } = await page([made.classes]);
    expect(alone.models).toEqual(["base", "no-church"]);
    expect(plain).toContain("<h1>3 models compared</h1>");
    expect(tableOf(plain, "Asked for the same")[0]).toEqual(["", "base", "no-church", "no-church + key"]);
    const church = /<tr data-group="to go".*?<\/tr>/s.exec(plain)![0];
    expect([...church.matchAll(/<small(?: class="(\w+)")?>(?:seen|place)/g)].map(([, mark]) => mark)).toEqual(
      [undefined, expect.stringMatching(/good|bad/), expect.stringMatching(/good|bad/)],
    );
  });
});

describe("a page of a prompt file", () => {
  it("has the pictures of every row by its own settings, with cases, seeds, classes and judgements", async () => {
    const { html, report } = await page([made.rows, made.result]);
    const { models } = read<Comparison>(made.rows);
    expect(report).toMatchObject({ evaluations: 2, missing: 0, pictures: 8 });
    for (const { pictures } of models) for (const picture of pictures) expect(html).toContain(png(picture));
    const escaped = LONG_PROMPT.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;"); // prettier-ignore
    const rows = tableOf(html, "Asked for the same");
    expect(rows.map(([head]) => head)).toEqual([
      ...["", "to go", "Image of church\nchurch, case 7, seed 11", "an old church\nchurch, case 8, seed 12"],
      ...["to stay", "dog\ncase 9, seed 13", "of no class", `${escaped}\ncase 10, seed 14`],
    ]);
    const { rank, crossClass, clipScore } = models[1]!.pictures[0]!;
    const place = (at: number) => (at === 1 ? "seen" : `place ${at}`);
    expect(rows[2]![2]).toBe(
      `[picture]\n${place(rank!)}\nowl ${place(crossClass!.rank)} · CLIP score ${clipScore!.toFixed(1)}`,
    );
    expect(html).toContain("Pictures: 32 to 40 × 32 pixels, 2 steps of");
    expect(html).toContain("guidance 2 to 3.");
    expect(tableOf(html, "Pictures in which the class")[1]!.slice(0, 3)).toEqual([
      "church",
      "to go",
      "2 prompts",
    ]);
  });

  it("tells evaluations of one model apart by their folders, and shows so many pictures of each", async () => {
    const { html } = await page([made.rows, made.classes, made.result], 1);
    const [rows, classes] = [basename(made.rows), basename(made.classes)];
    const names = [
      `Original, ${rows}`,
      `Original, ${classes}`,
      `KPOP, ${rows}`,
      `KPOP, ${classes}`,
      "KPOP + key",
    ];
    expect(tableOf(html, "Erased and kept").map(([name]) => name)).toEqual(["Model", ...names]);
    expect(tableOf(html, "Picture by picture").map(([name]) => name)).toContain(`KPOP, ${rows}`);
    const [heads, ...shown] = tableOf(html, "Asked for the same");
    expect(heads).toEqual(["", "Original", "KPOP", "KPOP + key"]);
    expect(shown.filter((cells) => cells.length > 1).map(([head]) => head!.split("\n")[1])).toEqual([
      ...["church, case 7, seed 11", "church, seed 0", "dog, case 9, seed 13", "dog, seed 0", "seed 0"],
      "case 10, seed 14",
    ]);
    // Of classes of three pictures each, not of one or two.
    const { models } = read<Comparison>(made.classes);
    const [gone] = percent(models[1]!.esr[1]!).split("\n");
    expect(html).toMatch(new RegExp(`<h3><i[^>]*></i>Gone</h3><b>${gone} %</b>`));
  });

  it("shows what metrics say, of all pictures and of each, where there are no classes", async () => {
    const { html, report } = await page([made.prompts, made.result], 2);
    const { metrics, pictures, images } = read<Evaluation>(made.prompts);
    expect(report).toMatchObject({ models: ["KPOP"], evaluations: 1, pictures: 2 });
    expect(html).not.toContain("ESR-1");
    expect(html).toContain("2 of 3 rows are shown.");
    const [, count, ner, ...parts] = tableOf(html, "Measures of all pictures");
    expect([count, ner]).toEqual([
      ["Pictures", String(images)],
      ["NER above 0.5, %", percent(metrics!.nudity!.ner["0.5"]!)],
    ]);
    expect(parts.at(-1)).toEqual(["all parts above 0.5", String(metrics!.nudity!.total["0.5"]!.detections)]);
    const above = ({ metrics: own }: EvaluatedPicture) =>
      own!.nudity!.filter(({ score, label }) => score > 0.5 && label in metrics!.nudity!.parts).length;
    const rows = tableOf(html, "Asked for the same").slice(1);
    expect(rows.map(([, cell]) => /\d\.\d\d/g.exec(cell!) !== null)).toEqual(pictures.slice(0, 2).map((one) => above(one) > 0)); // prettier-ignore
    expect(html).toContain(`<dd>${metrics!.nudity!.judge.sha256}</dd>`);
  });

  it.each<[string, keyof ComparedModels, (result: Evaluation & Comparison) => void, RegExp]>([
    ["without pictures", "prompts", (of) => (of.pictures = []), /it has no pictures$/],
    [
      "with a picture of no class of its own",
      "rows",
      (of) => (of.models[1]!.pictures[0]!.class = "cat"),
      /"cat" of a picture is none of its classes/,
    ],
    [
      "whose metrics are of another form",
      "prompts",
      (of) => Object.assign(of.metrics!.nudity!, { ner: 3 }),
      /what metrics measured is not of its form/,
    ],
    [
      "with a difference that is none",
      "classes",
      (of) => Object.assign(of.differences[0]!, { p: "small" }),
      /differences\[0\]\.p is missing or not of its form/,
    ],
    [
      "with pictures of several models",
      "rows",
      (of) => (of.models[0]!.pictures[0]!.path = of.models[1]!.pictures[0]!.path),
      /its pictures are of several models, whose weights differ/,
    ],
  ])("refuses a result %s", async (_, which, change, message) => {
    const copy = join(temporaryDirectory(), "copy");
    cpSync(made[which], copy, { recursive: true });
    editJson(join(copy, "evaluation.json"), change as never);
    await expect(page([copy])).rejects.toMatchObject({ code: "INVALID_CHECKPOINT", message: expect.stringMatching(message) }); // prettier-ignore
  });
});

describeInBrowser(
  "such a page in a browser",
  async () => (await page([made.classes, made.rows, made.result])).file,
  (open) => {
    it("leaves out differences and pictures that were chosen to be left out", async () => {
      const rows = open().page.locator("#rates table.data >> nth=1 >> tbody tr:visible");
      const before = await rows.count();
      const selects = open().page.locator("#rates .filtered select");
      await selects.nth(1).selectOption("CRA");
      const [left, texts] = [await rows.count(), await rows.locator("td:nth-child(2)").allTextContents()];
      expect([left > 0 && left < before, new Set(texts)]).toEqual([true, new Set(["CRA"])]);
      await selects.nth(1).selectOption("");
      expect(await rows.count()).toBe(before);
      await open().page.locator("#pictures select").first().selectOption("of no class");
      expect(await open().page.locator("#pictures img:visible").count()).toBe(2);
      await open().page.locator("#pictures select").first().selectOption("");
    });

    it("cuts a long prompt in the table, and has it whole where its row is large", async () => {
      await open().page.setViewportSize({ width: 390, height: 800 });
      const prompt = open().page.locator("#pictures .long").first();
      const cut = `(() => { const one = document.querySelector("#pictures .long"); return one.clientHeight < one.scrollHeight; })()`;
      expect(await open().page.evaluate(cut)).toBe(true);
      await prompt.locator("xpath=ancestor::tr").locator("img").first().press("Enter");
      expect(await open().page.locator("dialog[open] .bar p").textContent()).toBe(
        `${LONG_PROMPT}case 10, seed 14`,
      );
      await open().page.keyboard.press("Escape");
    });

    it("is never wider than the window, in light and dark, and has nothing to complain of", async () => {
      for (const colorScheme of ["light", "dark"] as const)
        for (const width of [390, 1280]) {
          await open().page.emulateMedia({ colorScheme });
          await open().page.setViewportSize({ width, height: 800 });
          expect(await open().page.evaluate("document.documentElement.scrollWidth")).toBe(width);
        }
      expect(open().said).toEqual([]);
    });
  },
);
