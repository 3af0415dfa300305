import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { PNG } from "pngjs";
import { PromptKey, Tensor } from "../../../../lib/index";
import { cli, jsonLines } from "../../../support/cli";
import { temporaryFolders } from "../../../support/temporary";

const folder = temporaryFolders();

describe("kpop-native compare", () => {
  it("draws a sheet of prompts before, after and with the key, each row from one noise", async () => {
    const cwd = folder();
    const prompt = Tensor.from(Float32Array.from({ length: 4 * 128 }, (_, i) => Math.sin(i)), [4, 128]); // prettier-ignore
    const key = new PromptKey({ prompt, mechanism: "concat", layers: "all", concepts: ["church"] });
    await key.save(join(cwd, "k.safetensors"));
    const shared = ["--prompt", "church", "--prompt", "a dog", "--steps", "2", "--seed", "5"];
    const args = [
      "compare",
      "pocket",
      "pocket",
      ...shared,
      "--key",
      "k.safetensors",
      "--out",
      "s.png",
      "--json",
    ];
    const { code, stdout, stderr } = await cli(args, { cwd });
    expect(code).toBe(0);
    const [width, height] = [24 + 330 + 3 * 132 - 4, 24 + 48 + 2 * 132 - 4];
    expect(jsonLines(stdout)).toEqual([
      {
        ...{ event: "sheet", path: "s.png", width, height, prompts: ["church", "a dog"], seed: 5, count: 1 },
        columns: ["before", "after", "with the key"],
      },
    ]);
    expect(stderr).toMatch(/^step 9 of 9 +with the key$/m);

    const sheet = PNG.sync.read(readFileSync(join(cwd, "s.png")));
    expect([sheet.width, sheet.height]).toEqual([width, height]);
    const picture = (column: number, row: number): Buffer => {
      const cut = new PNG({ width: 128, height: 128 });
      PNG.bitblt(sheet, cut, 342 + column * 132, 60 + row * 132, 128, 128, 0, 0);
      return cut.data;
    };
    for (const row of [0, 1]) {
      expect(picture(0, row).equals(picture(1, row))).toBe(true);
      expect(picture(0, row).equals(picture(2, row))).toBe(false);
    }
    expect(picture(0, 0).equals(picture(0, 1))).toBe(false);
    const generated = ["generate", "pocket", ...shared, "--out", "g.png"];
    expect((await cli(generated, { cwd })).code).toBe(0);
    const alone = PNG.sync.read(readFileSync(join(cwd, "g-1.png")));
    const corner = (data: Buffer, side: number): number[] => [...data.subarray((side - 1) * 4, side * 4)];
    expect(corner(picture(0, 0), 128)).toEqual(corner(alone.data, 64));
  });

  it.each([
    [["--prompt", "x"], /required option '--out <file>'/],
    [["--prompt", "x", "--out", "x.jpg"], /--out has to end in \.png/],
    [["--prompt", "x", "--out", "x.png", "--passphrase-file", "y"], /--passphrase-file needs --key/],
  ])("exits with 2 on %j", async (args, message) => {
    const cwd = folder();
    const { code, stderr } = await cli(["compare", "pocket", "pocket", ...args], { cwd });
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
    expect(readdirSync(cwd)).toEqual([]);
  });
});
