import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PNG } from "pngjs";
import { PromptKey, StableDiffusion, Tensor, type PromptKeyFields } from "../../../../lib/index";
import { cli, jsonLines } from "../../../support/cli";
import { writeFamily } from "../../../support/family-model";
import { temporaryFolders } from "../../../support/temporary";

const folder = temporaryFolders();
const picture = (path: string) => PNG.sync.read(readFileSync(path));

/** A key that moves the predictions of pocket far enough to be seen. */
async function saveKey(
  path: string,
  passphrase?: string,
  model?: string,
  kind: Partial<PromptKeyFields> = {},
): Promise<void> {
  const prompt = Tensor.from(
    Float32Array.from({ length: 4 * 128 }, (_, i) => Math.sin(i)),
    [4, 128],
  );
  const key = new PromptKey({
    prompt,
    mechanism: "concat",
    layers: "all",
    concepts: ["church"],
    ...(model && { model }),
    ...kind,
  });
  await key.save(path, passphrase === undefined ? {} : { passphrase });
  key.dispose();
}

describe("kpop-native generate", () => {
  it("writes one picture, and names it on stdout", async () => {
    const cwd = folder();
    const args = ["generate", "pocket", "--prompt", "church", "--steps", "2", "--out", "a.png"];
    const { code, stdout } = await cli(args, { cwd });
    expect({ code, stdout }).toEqual({ code: 0, stdout: "a.png\n" });
    expect(picture(join(cwd, "a.png"))).toMatchObject({ width: 64, height: 64 });
    const copied = [...args.slice(0, -1), "b.png", "--no-mapped"];
    expect(await cli(copied, { cwd })).toMatchObject({ code: 0, stdout: "b.png\n" });
    expect(picture(join(cwd, "b.png")).data.equals(picture(join(cwd, "a.png")).data)).toBe(true);
  });

  it("tells a network of Stable Diffusion XL the sizes that are given, and no other", async () => {
    const cwd = folder();
    await writeFamily("xl", join(cwd, "xl"), { latents: 8 });
    const args = ["--prompt", "church", "--steps", "2", "--out", "a.png"];
    const sizes = ["--original-size", "96:40", "--crops-coords-top-left", "8:3", "--target-size", "48:72"];
    expect(await cli(["generate", "xl", ...args, ...sizes], { cwd })).toMatchObject({ code: 0 });
    using model = await StableDiffusion.load(join(cwd, "xl"), { device: "cpu" });
    const told = { originalSize: [96, 40], cropsCoordsTopLeft: [8, 3], targetSize: [48, 72] } as const;
    const [drawn] = await model.generate("church", { steps: 2, ...told });
    await drawn!.save(join(cwd, "b.png"));
    expect(picture(join(cwd, "a.png")).data.equals(picture(join(cwd, "b.png")).data)).toBe(true);
    for (const [wrong, message] of [
      [["--original-size", "64:64"], /--original-size to be left out, as Stable Diffusion XL/],
      [["--original-size", "64x64"], /--original-size .*Expected HEIGHT:WIDTH, two whole numbers/],
      [["--crops-coords-top-left", "0"], /Expected TOP:LEFT/],
    ] as const)
      expect(await cli(["generate", "pocket", ...args, ...wrong], { cwd })).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(message) as string,
      });
  });

  it("draws the rows of a prompt file into a folder, each with its own seed and size, named by its case", async () => {
    const cwd = folder();
    writeFileSync(join(cwd, "rows.csv"), "case_number,prompt,sd_seed,width\n12,church,5,48\n7,a dog,6,64\n");
    const args = ["generate", "pocket", "--prompts", "rows.csv", "--steps", "2", "--out", "made"];
    expect(await cli(args, { cwd })).toMatchObject({ code: 0, stdout: "made/12.png\nmade/7.png\n" });
    expect(picture(join(cwd, "made/12.png"))).toMatchObject({ width: 48, height: 64 });
    const alone = ["--prompt", "a dog", "--seed", "6", "--steps", "2", "--out", "dog.png"];
    expect(await cli(["generate", "pocket", ...alone], { cwd })).toMatchObject({ code: 0 });
    expect(picture(join(cwd, "made/7.png")).data.equals(picture(join(cwd, "dog.png")).data)).toBe(true);
    const both = await cli([...args, "--count", "2"], { cwd });
    expect(both).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/--count does not go with --prompts/),
    });
  });

  it("writes a numbered series for several, prompt by prompt", async () => {
    const cwd = folder();
    const prompts = ["--prompt", "church", "--prompt", "a dog", "--count", "2", "--seed", "5"];
    const args = ["generate", "pocket", ...prompts, "--steps", "2", "--out", "a.png", "--json"];
    const { code, stdout, stderr } = await cli(args, { cwd });
    expect(code).toBe(0);
    const size = { event: "image", width: 64, height: 64 };
    expect(jsonLines(stdout)).toEqual([
      { ...size, path: "a-1.png", prompt: "church", seed: 5 },
      { ...size, path: "a-2.png", prompt: "church", seed: 6 },
      { ...size, path: "a-3.png", prompt: "a dog", seed: 5 },
      { ...size, path: "a-4.png", prompt: "a dog", seed: 6 },
    ]);
    expect(stderr).toMatch(/^step \d+ of \d+/m);
    expect(readdirSync(cwd).sort()).toEqual(["a-1.png", "a-2.png", "a-3.png", "a-4.png"]);
    const sheet = [...args.filter((arg) => arg !== "--json"), "--grid"];
    expect(await cli(sheet, { cwd })).toMatchObject({ code: 0, stdout: "a.png\n" });
    const grid = picture(join(cwd, "a.png"));
    expect(grid.width).toBe(2 * 64 + 2);
    const third = picture(join(cwd, "a-3.png"));
    const lower = new PNG({ width: 64, height: 64 });
    PNG.bitblt(grid, lower, 0, 66, 64, 64, 0, 0);
    expect(lower.data.equals(third.data)).toBe(true);
  });

  it("takes keys of every form and place, plain and encrypted, and inspect tells them apart", async () => {
    const cwd = folder();
    const args = ["generate", "pocket", "--prompt", "church", "--steps", "2", "--out"];
    await cli([...args, "plain.png"], { cwd });
    writeFileSync(join(cwd, "word.txt"), "p\n");
    const kinds = {
      added: [
        { form: "amortised", mechanism: "additive" },
        "(4, 128), amortised over 2 hidden units, additive, layers all",
      ],
      words: [{ place: "token" }, "(4, 128), learned words behind the text"],
    } as const;
    const pictures = [picture(join(cwd, "plain.png")).data];
    for (const [name, [kind, told]] of Object.entries(kinds)) {
      await saveKey(join(cwd, name), undefined, undefined, kind);
      await saveKey(join(cwd, `${name}.locked`), "p", undefined, kind);
      expect(await cli([...args, `${name}.png`, "--key", name], { cwd })).toMatchObject({ code: 0, stderr: expect.not.stringContaining("error") as string }); // prettier-ignore
      const locked = ["--key", `${name}.locked`, "--passphrase-file", "word.txt"];
      await cli([...args, `${name}.locked.png`, ...locked], { cwd });
      const [open, opened] = [`${name}.png`, `${name}.locked.png`].map(
        (file) => picture(join(cwd, file)).data,
      );
      expect(opened!.equals(open!)).toBe(true);
      pictures.push(open!);
      expect((await cli(["inspect", name], { cwd })).stdout).toContain(told);
    }
    expect(new Set(pictures.map((data) => data.toString("hex"))).size).toBe(3);
  });

  it("applies a delta onto the model that it was made from, and says so where it is given as the model", async () => {
    const cwd = folder();
    const model = await StableDiffusion.load("pocket", { device: "cpu" });
    const weight = model.unet.parameter("conv_out.weight");
    await weight.copyFrom(weight.mul(0.5));
    await model.save(join(cwd, "half.safetensors"), { format: "delta" });
    model.dispose();
    const options = ["--prompt", "church", "--steps", "2", "--out"];
    const made = await Promise.all([
      cli(["generate", "pocket", ...options, "plain.png"], { cwd }),
      cli(["generate", "pocket", "--delta", "half.safetensors", ...options, "half.png"], { cwd }),
    ]);
    expect(made.map(({ code }) => code)).toEqual([0, 0]);
    const [plain, half] = ["plain", "half"].map((name) => picture(join(cwd, `${name}.png`)).data);
    expect(half!.equals(plain!)).toBe(false);
    const refused = await cli(["generate", "half.safetensors", ...options, "no.png"], { cwd });
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(
      /^error: half\.safetensors is a delta: .*MODEL --delta half\.safetensors/m,
    );
  });

  it("warns of a key that was made for another model, unless any will do", async () => {
    const cwd = folder();
    await saveKey(join(cwd, "other.key"), undefined, "0".repeat(64));
    const args = [
      "generate",
      "pocket",
      "--prompt",
      "church",
      "--steps",
      "1",
      "--key",
      "other.key",
      "--out",
      "a.png",
    ];
    const [warned, silent, wrong] = await Promise.all([
      cli(args, { cwd }),
      cli([...args, "--any-model"], { cwd }),
      cli(["generate", "pocket", "--prompt", "church", "--out", "b.png", "--any-model"], { cwd }),
    ]);
    expect([warned.code, silent.code, wrong.code]).toEqual([0, 0, 2]);
    expect(warned.stderr).toMatch(/^warning: The key for "church" was made for another model/m);
    expect(warned.stderr).not.toMatch(/KPOP_|node:/);
    expect(silent.stderr).not.toContain("warning");
    expect(wrong.stderr).toMatch(/--any-model needs --key/);
  });

  it("takes a key, encrypted or not, and refuses it without the passphrase before loading the model", async () => {
    const cwd = folder();
    await saveKey(join(cwd, "open.key"));
    await saveKey(join(cwd, "sealed.key"), "correct horse");
    writeFileSync(join(cwd, "passphrase"), "correct horse\n");
    const args = ["generate", "pocket", "--prompt", "church", "--steps", "2"];
    const made = await Promise.all([
      cli([...args, "--out", "plain.png"], { cwd }),
      cli([...args, "--out", "open.png", "--key", "open.key"], { cwd }),
      cli([...args, "--out", "sealed.png", "--key", "sealed.key", "--passphrase-file", "passphrase"], {
        cwd,
      }),
    ]);
    expect(made.map(({ code }) => code)).toEqual([0, 0, 0]);
    const [plain, open, sealed] = ["plain", "open", "sealed"].map(
      (name) => picture(join(cwd, `${name}.png`)).data,
    );
    expect(open!.equals(sealed!)).toBe(true);
    expect(open!.equals(plain!)).toBe(false);
    const wrong = { cwd, env: { KPOP_PASSPHRASE: "wrong" } };
    for (const options of [{ cwd }, wrong]) {
      const refused = await cli([...args, "--out", "no.png", "--key", "sealed.key"], options);
      expect(refused.code).toBe(1);
      expect(refused.stderr).toMatch(/^error: sealed\.key .*passphrase/);
    }
  });

  it.each([
    ["a series", []],
    ["a sheet", ["--grid"]],
  ])("keeps the pictures of %s that were complete when it was interrupted, and tells", async (_, more) => {
    const cwd = folder();
    const few = [
      "generate",
      "pocket",
      "--prompt",
      "church",
      "--steps",
      "2",
      "--batch-size",
      "2",
      "--out",
      "a.png",
    ];
    const whole = few.map((arg) => arg.replace("a.png", "whole.png"));
    expect((await cli([...whole, "--count", "2"], { cwd })).code).toBe(0);
    let timer: NodeJS.Timeout | undefined;
    const child = await cli([...few, "--count", "4000", "--json", ...more], {
      cwd,
      onError: (text, kill) => {
        // A picture takes three steps of milliseconds: by then many are complete.
        if (/^step 1 of/m.test(text)) timer ??= setTimeout(() => kill("SIGINT"), 4000);
      },
    });
    clearTimeout(timer);
    expect(child.code).toBe(130);
    const [, count, last] =
      /^Interrupted after (\d+) of 4,000 pictures\. They are saved as a-0001\.png to (\S+)$/m.exec(
        child.stderr,
      )!;
    const made = readdirSync(cwd).filter((name) => name.startsWith("a"));
    expect(made).toHaveLength(Number(count));
    expect(made.sort().at(-1)).toBe(last);
    for (const [a, b] of [
      ["a-0001.png", "whole-1.png"],
      ["a-0002.png", "whole-2.png"],
    ] as const)
      expect(readFileSync(join(cwd, a)).equals(readFileSync(join(cwd, b)))).toBe(true);
  });

  it.each([
    [
      "a folder that is not there",
      ["--out", "no/a.png"],
      1,
      /Cannot write no\/a\.png: there is no folder no$/m,
    ],
    ["a value out of range", ["--out", "a.png", "--steps", "0"], 2, /Expected --steps to be an integer/],
    [
      "another model's size",
      ["--out", "a.png", "--width", "65"],
      2,
      /Expected --width to be a multiple of 4/,
    ],
  ])("refuses %s", async (_, args, exit, message) => {
    const cwd = folder();
    const { code, stdout, stderr } = await cli(["generate", "pocket", "--prompt", "x", ...args], { cwd });
    expect({ code, stdout }).toEqual({ code: exit, stdout: "" });
    expect(stderr).toMatch(message);
    expect(readdirSync(cwd)).toEqual([]);
  });
});
