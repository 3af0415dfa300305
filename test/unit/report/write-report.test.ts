import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Evaluation } from "../../../lib/evaluation/evaluation";
import { writeReport, type Report } from "../../../lib/report/write-report";
import { describeInBrowser } from "../../support/browser";
import { cli, jsonLines } from "../../support/cli";
import { editJson, reportableErasure, type ReportableErasure } from "../../support/reported-erasure";
import { temporaryDirectory } from "../../support/temporary-directory";

let made: ReportableErasure;
let file: string;
let report: Report;
let html: string;

beforeAll(async () => {
  made = await reportableErasure();
  file = join(temporaryDirectory(), "report.html");
  report = await writeReport(made.folders, file);
  html = readFileSync(file, "utf8");
});

/** The folders again, to be changed. */
function copies(): ReportableErasure {
  const place = temporaryDirectory();
  const copy = (name: keyof Omit<ReportableErasure, "folders">): string => {
    cpSync(made[name], join(place, name), { recursive: true });
    return join(place, name);
  };
  const [result, original, measured] = [copy("result"), copy("original"), copy("measured")];
  const [recovered, attacked] = [copy("recovered"), copy("attacked")];
  const attended = copy("attended");
  const folders = [result, original, measured, recovered, attacked, attended];
  return { result, original, measured, recovered, attacked, attended, folders };
}

const written = (folders: readonly string[]): Promise<Report> =>
  writeReport(folders, join(temporaryDirectory(), "report.html"));

describe("writeReport", () => {
  it("puts what was measured to its model by the weights, whatever the folders are called", () => {
    expect(report).toMatchObject({ models: ["Original", "KPOP"], evaluations: 3, attacks: 1, missing: 0 });
    // Two classes with three pictures from three models; two seeds of the plain name and one input; a picture with the map
    // of a word, and those of four heads.
    expect(report.pictures).toBe(3 * 6 + 4 + 6);
    const heads = html.match(/<table class="pictures".*?<\/thead>/s)![0];
    expect([...heads.matchAll(/<\/i>([^<]+)<\/th>/g)].map(([, name]) => name)).toEqual([
      "Original",
      "KPOP",
      "KPOP + key",
    ]);
  });

  it("has the pictures themselves, those of a row from one seed", () => {
    const { pictures } = JSON.parse(
      readFileSync(join(made.measured, "evaluation.json"), "utf8"),
    ) as Evaluation;
    for (const { path } of pictures) expect(html).toContain(readFileSync(path).toString("base64"));
    const row = /<tr data-group="to go" data-class="church"><th scope="row">church<small>seed 1<\/small>.*?<\/tr>/s.exec(html)![0]; // prettier-ignore
    const [before, after] = [made.original, made.measured].map((folder) => {
      const result = JSON.parse(readFileSync(join(folder, "evaluation.json"), "utf8")) as Evaluation;
      const { path } = result.pictures.find((one) => one.class === "church" && one.seed === 1)!;
      return row.indexOf(readFileSync(path).toString("base64"));
    });
    expect(before).toBeGreaterThan(0);
    expect(after).toBeGreaterThan(before!);
  });

  it("gives rates as they were measured, with their intervals", () => {
    const { esr, psr } = JSON.parse(
      readFileSync(join(made.measured, "evaluation.json"), "utf8"),
    ) as Evaluation;
    for (const { value, low, high } of [esr[1]!, psr[1]!]) {
      const [own, from, to] = [value, low, high].map((share) => (100 * share).toFixed(1));
      expect(html).toContain(`>${own}<small>${from}–${to}</small>`);
    }
  });

  it("has losses, attacks with their spend, the manifest and the commands", () => {
    for (const id of ["rates", "pictures", "classes", "attacks", "attention", "training", "making"])
      expect(html).toContain(`<section id="${id}">`);
    expect(html).toContain("KPOP: losses, on a logarithmic axis.");
    expect(html).toMatch(/<td data-sort="3">3<\/td>/); // Evaluations of the search.
    expect(html).toContain("<dt>Concepts</dt><dd>church</dd>");
    expect(html).toMatch(
      /<code>kpop-native evaluate base<\/code>\n<code>kpop-native attack no-church<\/code>/,
    );
  });

  it("needs nothing from outside", () => {
    const words = html.replace(/base64,[A-Za-z0-9+/=]+/g, "");
    const addresses = words.match(/(?:https?:)?\/\/[a-z][^"'\s<)]*/gi) ?? [];
    // Names of XML formats, which nothing fetches.
    expect(addresses.filter((address) => !/w3\.org\/(?:2000\/svg|1999\/xlink)/.test(address))).toEqual([]);
    expect(html).not.toMatch(/<link|<script[^>]+src|@import|url\((?!#)/);
  });

  it("finds folders in a folder, and takes each once", async () => {
    const { folders, result } = copies();
    const { models, evaluations, attacks } = await written([join(result, ".."), join(result, ".")]);
    expect({ models, evaluations, attacks, given: folders.length }).toEqual({
      ...{ models: ["Original", "KPOP, result", "KPOP, ."].map(() => expect.any(String) as string) },
      ...{ evaluations: 3, attacks: 1, given: 6 },
    });
  });

  it("shows figures whose pictures are gone, and says so", async () => {
    const { folders, measured } = copies();
    const images = join(measured, "images");
    const set = join(images, readdirSync(images)[0]!);
    for (const name of readdirSync(set))
      if (name.endsWith("-0-" + name.split("-").at(-1)!)) rmSync(join(set, name));
    const place = join(temporaryDirectory(), "report.html");
    const { missing } = await writeReport(folders, place);
    expect(missing).toBe(2);
    expect(readFileSync(place, "utf8")).toContain(
      "2 of the pictures are no longer where they were measured.",
    );
  });

  it("takes no picture from outside of the folder that was measured", async () => {
    const { folders, attacked } = copies();
    const secret = join(temporaryDirectory(), "secret.png");
    const [picture] = readdirSync(attacked).filter((name) => name.endsWith(".png"));
    cpSync(join(attacked, picture!), secret);
    rmSync(join(attacked, picture!));
    symlinkSync(secret, join(attacked, picture!));
    expect((await written(folders)).missing).toBe(1);
  });

  it("escapes what files say", async () => {
    const { folders, result } = copies();
    editJson(join(result, "kpop-run.json"), (manifest) => {
      Object.assign(manifest, { concepts: ['<script>alert("x")</script>'] });
    });
    const place = join(temporaryDirectory(), "report.html");
    await writeReport(folders, place);
    expect(readFileSync(place, "utf8")).not.toContain("<script>alert");
  });

  it.each([
    ["no folder", () => ["none"], "NOT_FOUND", "There is no folder none"],
    [
      "a folder with nothing in it",
      () => [temporaryDirectory()],
      "INVALID_ARGUMENT",
      /^Expected .* but there is none of kpop-run\.json \(from erase\), evaluation\.json/,
    ],
    ["no list", () => [], "INVALID_ARGUMENT", /^Expected folders to be/],
    [
      "a manifest of another kind",
      (of: ReportableErasure) => (writeFileSync(join(of.result, "kpop-run.json"), "{}"), of.folders),
      "INVALID_CHECKPOINT",
      /kpop-run\.json is not as erase writes it, or older: method is missing or not of its form$/,
    ],
    [
      "an older attack",
      (of: ReportableErasure) => {
        editJson(
          join(of.attacked, "attack.json"),
          (attack) => void delete (attack as Record<string, unknown>)["model"],
        );
        return of.folders;
      },
      "INVALID_CHECKPOINT",
      /attack\.json is not as attack writes it, or older: model is missing/,
    ],
    [
      "a result whose set is gone",
      (of: ReportableErasure) => {
        rmSync(join(of.measured, "images"), { recursive: true });
        editJson(join(of.measured, "evaluation.json"), (result) => {
          Object.assign(result, { directory: "/nowhere/0123" });
        });
        return of.folders;
      },
      "NOT_FOUND",
      /set\.json/,
    ],
  ])("refuses %s, and writes nothing", async (_, folders, code, message) => {
    const place = join(temporaryDirectory(), "report.html");
    const work = writeReport(folders(copies()), place);
    await expect(work).rejects.toMatchObject({ code, message: typeof message === "string" ? message : expect.stringMatching(message) as string }); // prettier-ignore
    expect(() => readFileSync(place)).toThrow(/ENOENT/);
  });

  it("refuses options that are none, and a place that is a folder", async () => {
    const folder = temporaryDirectory();
    mkdirSync(join(folder, "page"));
    await expect(writeReport(made.result, join(folder, "page"))).rejects.toMatchObject({ code: "IO_ERROR" });
    await expect(writeReport(made.result, join(folder, "a"), { pictures: 0 })).rejects.toThrow(
      "Expected pictures to be an integer >= 1 but received 0",
    );
    await expect(writeReport(made.result, join(folder, "a"), { picture: 1 } as object)).rejects.toThrow(
      /unknown/i,
    );
    expect(readdirSync(folder)).toEqual(["page"]);
  });
});

describe("kpop-native report", () => {
  it("writes the page, and tells what is in it", async () => {
    const cwd = temporaryDirectory();
    const { code, stdout } = await cli(["report", ...made.folders, "--out", "page.html"], { cwd });
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: expect.stringMatching(
        /^Wrote page\.html: Original, KPOP; 3 evaluations; 1 attack; 28 pictures \(\d+ kB\)\n$/,
      ) as string,
    });
    const again = await cli(["report", made.result, "--json", "--title", "A & B"], { cwd });
    expect(jsonLines(again.stdout)).toEqual([
      expect.objectContaining({ event: "done", file: "report.html" }),
    ]);
    expect(readFileSync(join(cwd, "report.html"), "utf8")).toContain("<h1>A &amp; B</h1>");
  });

  it("ends with a sentence on what is no such folder", async () => {
    const cwd = temporaryDirectory();
    const { code, stdout, stderr } = await cli(["report", "."], { cwd });
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(/Expected \. to be a folder that a command filled/);
    expect(readdirSync(cwd)).toEqual([]);
  });
});

describeInBrowser(
  "the page in a browser",
  () => file,
  (open) => {
    const cells = (table: string, column: number): Promise<string[]> =>
      open().page.locator(`${table} tbody tr:not([hidden]) > :nth-child(${column})`).allTextContents();

    it("sorts by the heading that is pressed, and the other way", async () => {
      const own = "#rates table.data >> nth=0 >>";
      const values = async () => (await cells(own, 1)).map((text) => text.trim());
      expect(await values()).toEqual(["Original", "KPOP", "KPOP + key"]);
      const model = open().page.locator(`${own} thead button`).first();
      await model.click();
      expect(await values()).toEqual(["KPOP", "KPOP + key", "Original"]);
      await model.click();
      expect(await values()).toEqual(["Original", "KPOP + key", "KPOP"]);
      expect(await open().page.locator(`${own} th[aria-sort]`).getAttribute("aria-sort")).toBe("descending");
    });

    it("leaves out rows and columns that were chosen to be left out", async () => {
      const pictures = "#pictures table.pictures";
      const images = open().page.locator(`${pictures} img:visible`);
      expect(await images.count()).toBe(18);
      await open().page.locator("#pictures select").first().selectOption("to go");
      expect(await images.count()).toBe(9);
      expect(await open().page.locator("#pictures output").textContent()).toBe("3 of 6 rows");
      await open().page.getByLabel("KPOP + key").uncheck();
      expect(await images.count()).toBe(6);
      await open().page.locator("#pictures select").first().selectOption("");
      await open().page.getByLabel("KPOP + key").check();
      expect(await images.count()).toBe(18);
    });

    it("shows a row large, and goes on with the arrows", async () => {
      await open().page.locator("#pictures table.pictures img").first().press("Enter");
      const dialog = open().page.locator("dialog[open]");
      expect(await dialog.locator("img").count()).toBe(3);
      expect(await dialog.locator("figcaption").allTextContents()).toEqual([
        "Original",
        "KPOP",
        "KPOP + key",
      ]);
      expect(await dialog.locator(".bar p").textContent()).toBe("churchseed 0");
      await open().page.keyboard.press("ArrowRight");
      expect(await dialog.locator(".bar p").textContent()).toBe("churchseed 1");
      await open().page.keyboard.press("Escape");
      expect(await dialog.count()).toBe(0);
    });

    it("is dark where the reader is, and never wider than the window", async () => {
      const shade = async (): Promise<number> => {
        const colour = await open().page.evaluate("getComputedStyle(document.body).backgroundColor");
        return Number(/\d+/.exec(String(colour))![0]);
      };
      for (const [colorScheme, [low, high]] of [
        ["light", [200, 255]],
        ["dark", [0, 60]],
      ] as const) {
        // prettier-ignore
        await open().page.emulateMedia({ colorScheme });
        const found = await shade();
        expect(found >= low && found <= high).toBe(true);
        for (const width of [390, 1280]) {
          await open().page.setViewportSize({ width, height: 800 });
          expect(await open().page.evaluate("document.documentElement.scrollWidth")).toBe(width);
        }
      }
    });

    it("has nothing to complain of, and asks for nothing", () => {
      expect(open().said).toEqual([]);
    });
  },
);
