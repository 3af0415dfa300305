import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cli, jsonLines } from "../../../support/cli";
import { temporaryFolders } from "../../../support/temporary";

const folder = temporaryFolders();

describe("kpop-native cache", () => {
  it("lists the pictures that were kept, and clears them when told --yes", async () => {
    const home = folder();
    const env = { XDG_CACHE_HOME: home, KPOP_LIBTORCH: folder() };
    expect(await cli(["cache"], { env })).toMatchObject({
      code: 0,
      stdout: "",
      stderr: "No pictures are kept\n",
    });
    const set = join(home, "kpop-native/images", "a".repeat(32));
    mkdirSync(set, { recursive: true });
    writeFileSync(join(set, "set.json"), "{}\n");
    writeFileSync(join(set, "church-0-0123456789abcdef.png"), Buffer.alloc(1997));
    const listed = await cli(["cache", "list"], { env });
    expect(listed).toMatchObject({ code: 0, stderr: "1 set, 1 picture, 2.00 kB\n" });
    expect(listed.stdout).toBe(`1 picture  2.00 kB  added to today  ${set}\n`);
    const json = await cli(["cache", "list", "--json"], { env });
    expect(jsonLines(json.stdout)).toEqual([
      expect.objectContaining({ event: "set", directory: set, pictures: 1, bytes: 2000 }),
    ]);
    const unsure = await cli(["cache", "clear"], { env });
    expect(unsure.code).toBe(2);
    expect(unsure.stderr).toMatch(/would remove 1 set, 1 picture, 2\.00 kB; say --yes/);
    expect(await cli(["cache", "clear", "--older-than", "1", "--yes"], { env })).toMatchObject({
      stderr: "There is nothing to remove\n",
    });
    expect(await cli(["cache", "clear", "--yes"], { env })).toMatchObject({
      code: 0,
      stdout: `removed 1 picture  2.00 kB  added to today  ${set}\n`,
      stderr: "Removed 1 set, 1 picture, 2.00 kB\n",
    });
    expect(readdirSync(join(home, "kpop-native/images"))).toEqual([]);
  });
});
