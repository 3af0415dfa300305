import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cli, jsonLines } from "../../../support/cli";
import { temporaryFolders } from "../../../support/temporary";

const folder = temporaryFolders();

describe("kpop-native attribution", () => {
  const run = (cwd: string, ...args: string[]) =>
    cli(["attribution", "pocket", "--steps", "1", ...args], { cwd });

  it("leaves pictures with the maps of their words, and says of which", async () => {
    const cwd = folder();
    const prompts = ["--prompt", "a castle", "--prompt", "an owl"];
    const { code, stdout } = await run(cwd, ...prompts, "--out", "attended");
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: 'a castle: "a", "castle"\nan owl: "an", "owl"\n2 pictures with maps in attended\n',
    });
    const { command, pictures } = JSON.parse(
      readFileSync(join(cwd, "attended/attribution.json"), "utf8"),
    ) as {
      command: string;
      pictures: { file: string; words: { file: string }[] }[];
    };
    expect(command).toBe(
      'kpop-native attribution pocket --steps 1 --prompt "a castle" --prompt "an owl" --out attended',
    );
    const files = pictures.flatMap(({ file, words }) => [file, ...words.map((word) => word.file)]);
    expect(readdirSync(join(cwd, "attended")).sort()).toEqual([...files, "attribution.json"].sort());
    const again = await run(cwd, "--prompt", "an owl", "--words", "owl", "--heads", "--out", "b", "--json");
    expect(jsonLines(again.stdout)).toEqual([
      {
        event: "done",
        result: "b/attribution.json",
        pictures: [{ prompt: "an owl", seed: 0, words: ["owl"] }],
      },
    ]);
    expect(readdirSync(join(cwd, "b")).filter((name) => /-owl-head-\d\.png$/.test(name))).toHaveLength(4);
  });

  it.each([
    ["no prompt", ["--out", "a"], /required option '--prompt <text>'/],
    ["no folder", ["--prompt", "an owl"], /required option '--out <dir>'/],
    [
      "a word that is not there",
      ["--prompt", "an owl", "--words", "cat", "--out", "a"],
      /There is no "cat" in "an owl"/,
    ],
  ])("refuses %s, and writes nothing", async (_, args, message) => {
    const cwd = folder();
    const { code, stdout, stderr } = await run(cwd, ...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(message);
    expect(readdirSync(cwd)).toEqual([]);
  });
});
