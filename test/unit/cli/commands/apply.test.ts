import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { readCheckpoint } from "../../../../lib/io/checkpoint-read";
import { StableDiffusion } from "../../../../lib/index";
import { checkpointContent, differing } from "../../../support/checkpoint-bytes";
import { cli, jsonLines } from "../../../support/cli";
import { pocket } from "../../../support/golden";
import { temporaryFolders } from "../../../support/temporary";

const K = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight";
const folder = temporaryFolders();
const content = async (path: string): Promise<string[]> =>
  await checkpointContent(await readCheckpoint(path));

/** A model whose one layer has changed by a matrix of rank 1, as delta, LoRA and folder. */
async function changed(cwd: string): Promise<void> {
  using model = await StableDiffusion.load("pocket", { device: "cpu" });
  const weight = model.unet.parameter(K);
  await weight.copyFrom(weight.add(0.05));
  await model.save(join(cwd, "delta.safetensors"), { format: "delta" });
  await model.save(join(cwd, "lora.safetensors"), { format: "lora", rank: 1 });
  await model.save(join(cwd, "whole"));
}

describe("kpop-native apply", () => {
  it("puts a delta into its base to the byte, in either layout, and a LoRA nearly so", async () => {
    const cwd = folder();
    await changed(cwd);
    const delta = ["apply", "pocket", "--delta", "delta.safetensors"];
    const made = await cli([...delta, "--out", "new/a.safetensors"], { cwd, env: { KPOP_LIBTORCH: folder() } });
    expect(made).toMatchObject({ code: 0, stdout: "new/a.safetensors\n" });
    const whole = await content(join(cwd, "whole"));
    expect(await content(join(cwd, "new/a.safetensors"))).toEqual(whole);

    const lora = ["apply", "pocket", "--lora", "lora.safetensors:1.0", "--out", "b", "--json"];
    const { code, stdout } = await cli(lora, { cwd });
    expect(code).toBe(0);
    expect(jsonLines(stdout)).toEqual([{ event: "done", path: "b", format: "diffusers" }]);
    const [base, applied] = [await content(pocket()), await content(join(cwd, "b"))];
    expect(differing(applied, base)).toEqual([`unet ${K}`]);
    using model = await StableDiffusion.load(join(cwd, "b"), { device: "cpu" });
    using before = await StableDiffusion.load("pocket", { device: "cpu" });
    const change = model.unet.parameter(K).sub(before.unet.parameter(K));
    // Both weights are rounded to float16.
    expect(await change.sub(0.05).square().mean().item()).toBeLessThan(1e-8);
  });

  it("says what a delta and a LoRA are, and which command takes them", async () => {
    const cwd = folder();
    await changed(cwd);
    const [delta, lora] = await Promise.all(
      ["delta", "lora"].map((name) => cli(["inspect", `${name}.safetensors`], { cwd })),
    );
    expect(delta!.stdout).toMatch(/^ {2}goes onto +its base: apply MODEL --delta delta\.safetensors --out PATH$/m);
    expect(lora!.stdout).toMatch(/^lora\.safetensors: LoRA, /);
    expect(lora!.stdout).toMatch(/^ {2}changes +1 layer of the unet$/m);
    expect(lora!.stdout).toMatch(/^ {2}rank +1$/m);
    expect(lora!.stdout).toMatch(/^ {2}holds +100\.0 % of/m);
    expect(lora!.stdout).toMatch(/^ {2}goes onto .*apply MODEL --lora lora\.safetensors --out PATH$/m);
  });

  it.each([
    ["neither", [], 2, /required option '--delta <file>' or '--lora <file>' not specified/],
    ["a strength that is none", ["--lora", "x:y"], 2, /Expected a number/],
    ["another base's delta", ["--delta", "none.safetensors"], 1, /none\.safetensors/],
  ])("refuses %s, and writes nothing", async (_, args, exit, message) => {
    const cwd = folder();
    const { code, stdout, stderr } = await cli(["apply", "pocket", ...args, "--out", "x"], { cwd });
    expect({ code, stdout }).toEqual({ code: exit, stdout: "" });
    expect(stderr).toMatch(message);
    expect(existsSync(join(cwd, "x"))).toBe(false);
  });
}); // prettier-ignore

describe("kpop-native convert", () => {
  it("writes a folder as one file where there is no libtorch, and replaces nothing unasked", async () => {
    const cwd = folder();
    const env = { KPOP_LIBTORCH: folder() };
    const args = ["convert", "pocket", "--out", "a.safetensors"];
    expect(await cli(args, { cwd, env })).toMatchObject({ code: 0, stdout: "a.safetensors\n", stderr: "" });
    expect(await content(join(cwd, "a.safetensors"))).toEqual(await content(pocket()));
    const again = await cli(args, { cwd, env });
    expect(again).toMatchObject({ code: 1, stdout: "" });
    expect(again.stderr).toMatch(/a\.safetensors exists; .*--force/);
    expect(await cli([...args, "--force", "--json"], { cwd, env })).toMatchObject({ code: 0 });
    const onto = await cli(["convert", "a.safetensors", "--out", "a.safetensors", "--force"], { cwd, env });
    expect(onto.stderr).toMatch(/Expected --out to be another place than the model a\.safetensors/);
    expect(readFileSync(join(cwd, "a.safetensors")).length).toBeGreaterThan(1e6);
  });

  it.each([
    [["--out", "x", "--format", "single-file"], /a \.safetensors file for --format single-file, but is x/],
    [["--out", "x.safetensors", "--format", "diffusers"], /a folder for --format diffusers, but is x\.saf/],
    [[], /required option '--out <path>' not specified/],
  ])("exits with 2 on %j", async (args, message) => {
    const cwd = folder();
    const { code, stderr } = await cli(["convert", "pocket", ...args], { cwd });
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });
});
