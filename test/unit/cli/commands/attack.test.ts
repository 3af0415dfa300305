import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { AttackResult } from "../../../../lib/index";
import { cli, jsonLines } from "../../../support/cli";
import { temporaryFolders } from "../../../support/temporary";
import { saveClassifier } from "../../../support/tiny-classifier";

const folder = temporaryFolders();
const measured = ["--steps", "2", "--images-per-input", "2"];
const short = ["--iterations", "3", "--batch-size", "1", ...measured];

describe("kpop-native attack", () => {
  let cwd: string;
  beforeAll(async () => {
    cwd = folder();
    await saveClassifier(join(cwd, "classifier"), ["church", "dog"]);
  });
  const attack = (...args: string[]) =>
    cli(["attack", "pocket", "--concept", "church", "--classifier", "classifier", ...short, ...args], {
      cwd,
    });

  it("prints what the name and the inputs bring back, and keeps inputs, pictures and result", async () => {
    const args = ["--original", "pocket", "--pictures", "2", "--out", "a"];
    const { code, stdout, stderr } = await attack(...args);
    expect(stderr).toMatch(/^iteration 3 of 3 +denoising/m);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Attacked pocket for "church" with concept-inversion in /);
    expect(stdout).toMatch(/^original model, plain name +\d+\.\d \(\d+\.\d to \d+\.\d\) +2$/m);
    expect(stdout).toMatch(/^plain name +\d/m);
    expect(stdout).toMatch(/^<inverted> +\d/m);
    // PNDM makes one step more than it is asked for, each twice under guidance: 6 pictures of 3 steps.
    expect(stdout).toMatch(/^The search took 3 UNet evaluations, measuring 36$/m);
    expect(stdout).toMatch(/^result {2}a\/attack\.json$/m);
    expect(readdirSync(join(cwd, "a")).sort()).toEqual([
      ...["attack.json", "images", "inverted-2.png", "inverted-3.png", "inverted.safetensors"],
      ...["name-2.png", "name-3.png", "state"],
    ]);
    const result = JSON.parse(readFileSync(join(cwd, "a/attack.json"), "utf8")) as AttackResult;
    expect(result.inputs).toHaveLength(1);
  });

  it("learns from the pictures of a folder, band by band, and says it in JSON", async () => {
    const bands = ["--method", "diverse-inversion", "--bands", "-0.4:-0.2", "--bands", "0.6:0.8"];
    const { code, stdout } = await attack("--image", "a", ...bands, "--out", "b", "--json");
    expect(code).toBe(0);
    const lines = jsonLines(stdout);
    expect(lines.filter(({ event }) => event === "step")).toHaveLength(3);
    expect(lines.at(-1)).toMatchObject({
      event: "done",
      method: "diverse-inversion",
      inputs: [
        { name: "<inverted-1>", band: [-0.4, -0.2], rate: { total: 2 } },
        { name: "<inverted-2>", band: [0.6, 0.8], rate: { total: 2 } },
      ],
      result: "b/attack.json",
    });
  });

  it("teaches the concept again, and keeps what it has learned after each number of steps", async () => {
    const args = ["--method", "relearn", "--image", "a", "--after", "1", "--after", "3", "--batch-size", "1"];
    const { code, stdout, stderr } = await cli(
      ["attack", "pocket", "--concept", "church", "--classifier", "classifier", ...measured, ...args, "--out", "e"], // prettier-ignore
      { cwd },
    );
    expect(stderr).toMatch(/^iteration 3 of 3 +denoising/m);
    expect(code).toBe(0);
    for (const row of [/^attack +\d.* 4$/m, /^after 1 +\d.* 2$/m, /^after 3 +\d.* 2$/m])
      expect(stdout).toMatch(row);
    const files = readdirSync(join(cwd, "e")).filter((name) => name.endsWith(".safetensors"));
    expect(files.sort()).toEqual(
      ["1", "3"].flatMap((steps) => [`after-${steps}-lora.safetensors`, `after-${steps}.safetensors`]),
    );
  });

  it("interrupted keeps the state of the search, and says how to go on", async () => {
    const args = ["--image", "a", "--out", "c", "--json", "--iterations", "400"];
    let killed = false;
    const { code, stderr } = await cli(
      ["attack", "pocket", "--concept", "church", "--classifier", "classifier", ...short, ...args],
      {
        cwd,
        onLine: (line, kill) => {
          if (killed || (JSON.parse(line) as { event?: string }).event !== "step") return;
          killed = true;
          kill("SIGINT");
        },
      },
    );
    expect(code).toBe(130);
    expect(stderr).toMatch(/Interrupted\. The state of the search is in c; go on with\n.* --resume/);
    expect(readdirSync(join(cwd, "c/state"))).toHaveLength(1);
  });

  it.each<[string, string[], RegExp]>([
    [
      "no pictures and no original",
      ["--out", "d"],
      /required option '--original <model>' or '--image <path>'/,
    ],
    [
      "a flag of another attack",
      ["--image", "a", "--out", "d", "--bands", "0:1"],
      /--bands is an option of --method diverse-inversion, not of concept-inversion/,
    ],
    [
      "a band without two ends",
      ["--image", "a", "--out", "d", "--method", "diverse-inversion", "--bands", "0.5"],
      /Expected FROM:TO/,
    ],
    [
      "a folder without pictures",
      ["--image", "classifier", "--out", "d"],
      /There is no picture .* in classifier/,
    ],
    [
      "an attack that it has not",
      ["--method", "guessing", "--out", "d"],
      /Allowed choices are concept-inversion/,
    ],
  ])("refuses %s, saying what it takes", async (_, args, message) => {
    const { code, stderr } = await attack(...args);
    expect(stderr).toMatch(message);
    expect(code).toBeGreaterThan(0);
  });
});
