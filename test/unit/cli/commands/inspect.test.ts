import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { sd2 } from "../../../support/ldm-shapes";
import { writeU8File } from "../../../support/safetensors-bytes";
import { cli, jsonLines } from "../../../support/cli";
import { temporaryFolders } from "../../../support/temporary";

const folder = temporaryFolders();

describe("kpop-native inspect", () => {
  it("describes the built-in model where there is no libtorch", async () => {
    const env = { KPOP_LIBTORCH: folder() };
    const text = await cli(["inspect", "pocket"], { env });
    expect(text).toMatchObject({ code: 0, stderr: "" });
    expect(text.stdout).toMatch(/^pocket: Stable Diffusion 1 checkpoint, diffusers folder, [\d.]+ MB\n/);
    expect(text.stdout).toMatch(/^ {2}unet +[\d,]+ parameters in \d+ tensors, F16$/m);
    expect(text.stdout).toMatch(/cross_attention_dim 128/);
    const json = await cli(["inspect", "pocket", "--hash", "--json"], { env });
    expect(jsonLines(json.stdout)).toEqual([
      expect.objectContaining({
        kind: "model",
        format: "diffusers",
        files: expect.arrayContaining([
          expect.objectContaining({ sha256: expect.stringMatching(/^[0-9a-f]{64}$/) }),
        ]),
      }),
    ]);
  });

  it("takes what a single file does not say of its predictions, and asks for it", async () => {
    const cwd = folder();
    writeU8File(join(cwd, "v2.safetensors"), sd2());
    const plain = await cli(["inspect", "v2.safetensors"], { cwd });
    expect(plain).toMatchObject({ code: 0, stdout: expect.stringMatching(/^ {2}no model .*give prediction "v".*--prediction$/m) as string }); // prettier-ignore
    const told = await cli(["inspect", "v2.safetensors", "--prediction", "v"], { cwd });
    expect(told.stdout).toMatch(/^v2\.safetensors: Stable Diffusion 2 checkpoint, single file/);
    expect(told.stdout).toMatch(/prediction_type v_prediction/);
    expect(await cli(["inspect", "pocket", "--prediction", "v"], { cwd })).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^error: .*"epsilon".*leave it out$/m) as string,
    });
  });

  it("describes other files in a few lines", async () => {
    const cwd = folder();
    const shapes = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`tensor.${i}`, [2, 3]]));
    writeU8File(join(cwd, "some.safetensors"), shapes, { origin: "a test" });
    const { code, stdout } = await cli(["inspect", "some.safetensors"], { cwd });
    expect(code).toBe(0);
    expect(stdout.split("\n").slice(0, 3)).toEqual([
      expect.stringMatching(/^some\.safetensors: safetensors file, /),
      "  tensors       72 parameters in 12 tensors, U8",
      "    tensor.0  U8 (2, 3)",
    ]);
    expect(stdout).toMatch(/^ {4}and 4 more \(--json lists all\)$/m);
    expect(stdout).toMatch(/^ {2}metadata +origin: a test$/m);
  });

  it("says of an incomplete manifest what it holds, and shows what a terminal would obey", async () => {
    const cwd = folder();
    const say = async (manifest: object): Promise<string[]> => {
      writeFileSync(join(cwd, "kpop-run.json"), JSON.stringify(manifest));
      const { code, stdout } = await cli(["inspect", "kpop-run.json"], { cwd });
      expect([code, stdout.includes("undefined")]).toEqual([0, false]);
      return stdout.trimEnd().split("\n").slice(1);
    };
    expect(await say({ method: "kpop", concepts: ["church"] })).toEqual([
      '  erased        "church" with kpop',
    ]);
    expect(await say({ method: "kpop", concepts: [], seed: 7, versions: null })).toEqual([
      "  erased        with kpop",
      "  run           seed 7",
    ]);
    const hostile = "a\x1b[2J\n  sha256        0000";
    expect(await say({ method: "x", concepts: [hostile], device: "\0cpu", seed: {} })).toEqual([
      '  erased        "a\\u001b[2J\\n  sha256        0000" with x',
      "  run           \\u0000cpu",
    ]);
  });

  it("says why a pickle is not read, and how to convert it", async () => {
    const cwd = folder();
    writeFileSync(join(cwd, "model.ckpt"), "PK\x03\x04");
    const { code, stdout, stderr } = await cli(["inspect", "model.ckpt"], { cwd });
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(
      /^error: model\.ckpt holds pickled weights, .*runs whatever code.*from_single_file/,
    );
  });
});
