import { readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Comparison, Evaluation } from "../../../../lib/index";
import { cli, jsonLines } from "../../../support/cli";
import { saveClassifier } from "../../../support/tiny-classifier";
import { temporaryFolders } from "../../../support/temporary";

const folder = temporaryFolders();
const short = ["--images-per-class", "2", "--steps", "2", "--top-k", "1"];

describe("kpop-native evaluate", () => {
  let cwd: string;
  beforeAll(async () => {
    cwd = folder();
    await saveClassifier(join(cwd, "classifier"), ["church", "dog", "owl"]);
  });
  const evaluate = (...args: string[]) =>
    cli(["evaluate", "pocket", "--classifier", "classifier", ...short, ...args], { cwd });

  it("prints a table for each group, and keeps the pictures and the result", async () => {
    const { code, stdout, stderr } = await evaluate("--erased", "church", "--preserved", "dog", "--out", "a");
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Evaluated pocket on 4 pictures in /);
    expect(stdout).toMatch(/^erased +ESR-1\nchurch +\d+\.\d \(\d+\.\d to \d+\.\d\)$/m);
    expect(stdout).toMatch(/^preserved +PSR-1\ndog +\d/m);
    expect(stdout).toMatch(/^result {2}a\/evaluation\.json$/m);
    expect(stderr).toMatch(/^4 pictures; making the rest takes about /m);
    const [set] = readdirSync(join(cwd, "a/images"));
    expect(readdirSync(join(cwd, "a/images", set!)).filter((name) => name.endsWith(".png"))).toHaveLength(4);
    const result = JSON.parse(readFileSync(join(cwd, "a/evaluation.json"), "utf8")) as Evaluation;
    expect(result.esr[1]).toMatchObject({ total: 2 });
    expect(result.pictures).toHaveLength(4);
  });

  it("draws the rows of a prompt file, and tells UA, IRA and CRA", async () => {
    const rows = ["0,a church,1,church,dog", "1,a church,2,church,owl", "2,an owl,3,owl,dog"];
    writeFileSync(
      join(cwd, "rows.csv"),
      ["case_number,prompt,sd_seed,class,cross_class", ...rows].join("\n"),
    );
    const args = [
      "--prompts",
      "rows.csv",
      "--erased",
      "church",
      "--steps",
      "2",
      "--top-k",
      "1",
      "--out",
      "p",
    ];
    const { code, stdout } = await cli(["evaluate", "pocket", "--classifier", "classifier", ...args], {
      cwd,
    });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Evaluated pocket on 3 pictures in /);
    expect(stdout).toMatch(/^erased +ESR-1\nchurch +\d/m);
    expect(stdout).toMatch(/^preserved +PSR-1\nowl +\d/m);
    expect(stdout).toMatch(/^UA +\d[^]*^IRA +\d[^]*^CRA +\d[^]*^CRA, dog +\d/m);
    const result = JSON.parse(readFileSync(join(cwd, "p/evaluation.json"), "utf8")) as Evaluation;
    expect(result.pictures.map(({ case: number, seed }) => [number, seed])).toEqual([["0", 1], ["1", 2], ["2", 3]]); // prettier-ignore
  });

  it("compares several models, and tells how each differs from the first", async () => {
    symlinkSync(resolve("models/pocket"), join(cwd, "copy"));
    const args = [
      "--classifier",
      "classifier",
      ...short,
      "--erased",
      "church",
      "--preserved",
      "dog",
      "--out",
      "m",
    ];
    const { code, stdout, stderr } = await cli(["evaluate", "pocket", "./copy", ...args], { cwd });
    expect(stderr).not.toMatch(/error/);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Evaluated 2 models on 4 pictures each in /);
    expect(stdout).toMatch(/^ +pocket +\.\/copy$/m);
    expect(stdout).toMatch(/^ESR-1 +(\d+\.\d \(.*?\)) +\1$/m);
    expect(stdout).toMatch(/^\.\/copy less pocket, picture by picture$/m);
    expect(stdout).toMatch(/^PSR-1 +0\.0 \(-.*\) +0 of 2 gained, 0 lost +p = 1\.000$/m);
    const { models } = JSON.parse(readFileSync(join(cwd, "m/evaluation.json"), "utf8")) as Comparison;
    expect(models.map(({ name, pictures }) => [name, pictures.length])).toEqual([["pocket", 4], ["./copy", 4]]); // prettier-ignore
  });

  it("under --json prints the estimate, the steps and the result as objects, and makes no picture twice", async () => {
    const args = ["--erased", "church", "--preserved", "dog", "--out", "b", "--json"];
    const lines = jsonLines((await evaluate(...args)).stdout);
    expect(lines[0]).toMatchObject({ event: "estimate", total: 4, generated: 0 });
    expect(lines.at(-1)).toMatchObject({
      event: "done",
      images: 4,
      generated: 4,
      result: "b/evaluation.json",
    });
    expect(lines.slice(1, -1).every(({ event }) => event === "step")).toBe(true);
    const again = jsonLines((await evaluate(...args)).stdout);
    expect(again.at(-1)).toMatchObject({ event: "done", images: 4, generated: 0 });
  });

  it("interrupted keeps what is done, and says how to go on", async () => {
    const args = ["--erased", "church", "--preserved", "dog", "--out", "d", "--images-per-class", "8"];
    let seen = 0;
    const { code, stderr } = await cli(
      ["evaluate", "pocket", "--classifier", "classifier", ...short, ...args, "--json"],
      {
        cwd,
        onLine: (line, kill) => {
          if ((JSON.parse(line) as { generated?: number }).generated === 4 && seen++ === 0) kill("SIGINT");
        },
      },
    );
    expect(code).toBe(130);
    expect(stderr).toMatch(
      /^Interrupted\. The pictures that are done lie in d; go on with\n {2}.* evaluate pocket .*--out d/m,
    );
    const lines = jsonLines((await evaluate(...args, "--json")).stdout);
    expect(lines.at(-1)).toMatchObject({ event: "done", images: 16 });
    expect(lines.at(-1)!["generated"]).toBeLessThanOrEqual(12);
  });

  it.each([
    ["no class", ["--out", "c"], 2, /required option '--erased <name>' or '--preserved <name>'/],
    [
      "pictures of classes beside prompts",
      ["--prompts", "rows.csv", "--out", "c"],
      2,
      /--images-per-class to be left out with prompts/,
    ],
    ["no folder", ["--erased", "church"], 2, /required option '--out <dir>'/],
    [
      "no pictures",
      ["--erased", "church", "--out", "c", "--images-per-class", "0"],
      2,
      /--images-per-class to be/,
    ],
    [
      "an unknown class",
      ["--erased", "cat", "--out", "c"],
      2,
      /knows no class "cat"; it knows church, dog, owl/,
    ],
    [
      "no such classifier",
      ["--erased", "church", "--out", "c", "--classifier", "none"],
      1,
      /Cannot read none/,
    ],
  ])("refuses %s", async (_, args, exit, message) => {
    const { code, stdout, stderr } = await evaluate(...args);
    expect({ code, stdout }).toEqual({ code: exit, stdout: "" });
    expect(stderr).toMatch(message);
  });

  it("measures what options name, and tells how far the reference is", async () => {
    const drawn = ["--preserved", "dog", "--out", "measured"];
    expect((await evaluate(...drawn)).code).toBe(0);
    const reference = join("measured/images", readdirSync(join(cwd, "measured/images"))[0]!);
    const metric = ["--cmmd-clip", "pocket", "--cmmd-reference", reference];
    expect((await evaluate(...drawn, ...metric)).stdout).toMatch(/^CMMD +0\.000$/m);
    const lines = jsonLines((await evaluate(...drawn, ...metric, "--json")).stdout);
    expect(lines[0]).toMatchObject({ event: "step", phase: "reference", done: 2, total: 2 });
    expect(lines.at(-1)).toMatchObject({ metrics: { cmmd: { all: { pictures: 2, referencePictures: 2 } } } });
    const { code, stderr } = await evaluate("--preserved", "dog", "--out", "n", "--fid-reference", reference);
    expect([code, stderr]).toEqual([
      2,
      expect.stringMatching(/Expected --fid-weights to be a non-empty string/),
    ]);
  });
});
