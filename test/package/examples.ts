import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { RunManifest } from "../../lib/erasure/manifest";
import type { InstalledPackage } from "../support/installed-package";

const TYPESCRIPT = resolve(__dirname, "../../node_modules/typescript/bin/tsc");
const NODE_TYPES = resolve(__dirname, "../../node_modules/@types");
const UNET = "unet/diffusion_pytorch_model.safetensors";
/** Few evaluations: what they learn does not matter here. */
const OPTIONS = JSON.stringify({ iterations: 2, poolSize: 1, samplingSteps: 4 });

/** Further versions of Node, from `npm run test:nodes`. */
const NODES = (process.env.KPOP_TEST_NODES ?? "").split(",").filter((version) => version !== "");

/** The scripts of examples/ that end by themselves, each run in a project that has the package from its tarball. */
export function describeExamples(installed: () => InstalledPackage): void {
  const read = (path: string) => readFileSync(join(installed().project, "examples", path));
  const same = (one: string, other: string) => read(one).equals(read(other));
  const manifest = (folder: string) =>
    JSON.parse(read(join(folder, "kpop-run.json")).toString()) as RunManifest;

  /** Runs the script with one Node, into a folder of its own. @returns its stdout */
  const erase = (node: string, example: string, script: string, out: string): Promise<string> =>
    installed().runIn(
      join("examples", example),
      { KEY_PASSPHRASE: "correct horse" },
      node,
      script,
      ...["--options", OPTIONS, "--steps", "2", "--out", out],
    );

  describe("the examples", () => {
    it("in TypeScript compiles, erases and draws, as an ES module", async () => {
      const folder = installed().addExample("esm-typescript");
      await installed().runIn(folder, {}, "node", TYPESCRIPT, "--typeRoots", NODE_TYPES);
      const output = await erase("node", "esm-typescript", "dist/erase.js", "out");
      expect(output).toMatch(/^1\/2 {2}transfer [\d.]+ .*\n2\/2 .* 0 s left\n$/);
      const { concepts, iterations } = manifest("esm-typescript/out/model");
      expect({ concepts, iterations }).toEqual({ concepts: ["church"], iterations: 2 });
      expect(same("esm-typescript/out/gone.png", "esm-typescript/out/back.png")).toBe(false);
    });

    it("in CommonJS erases, and draws from the files that it wrote", async () => {
      installed().addExample("commonjs");
      await erase("node", "commonjs", "erase.js", "out");
      const { concepts, outputs } = manifest("commonjs/out/model");
      const model = read("commonjs/out/model/model.safetensors");
      expect({ concepts, outputs }).toEqual({
        concepts: ["church"],
        outputs: { "model.safetensors": createHash("sha256").update(model).digest("hex") },
      });
      expect(same("commonjs/out/gone.png", "commonjs/out/back.png")).toBe(false);
      expect(read("commonjs/out/key.safetensors").includes("aes-256-gcm")).toBe(true);
      expect(read("commonjs/out/key.safetensors").includes("church")).toBe(false);
    });

    it("with worker threads erases two concepts at once, each to the bits that it comes to alone", async () => {
      const folder = installed().addExample("worker-pool");
      const concepts = ["--concept", "church", "--concept", "fish"];
      const output = await installed().runIn(
        folder,
        {},
        "node",
        "pool.js",
        ...concepts,
        "--options",
        OPTIONS,
      );
      const lines = output.trim().split("\n");
      expect(lines.toSorted()).toEqual(
        ["church", "fish"].flatMap((name) => [`${name} 1`, `${name} 2`, `${name} done`, `${name} start`]),
      );
      const [first, second] = ["church", "fish"].map((name) => [
        lines.indexOf(`${name} start`),
        lines.indexOf(`${name} done`),
      ]) as [[number, number], [number, number]];
      expect(Math.max(first[0], second[0])).toBeLessThan(Math.min(first[1], second[1]));
      expect(manifest("worker-pool/out/2/model").concepts).toEqual(["fish"]);
      for (const file of [join("model", UNET), "key.safetensors"])
        expect(same(join("worker-pool/out/1", file), join("esm-typescript/out", file))).toBe(true);
    });
  });

  for (const version of NODES) {
    describe(`the examples under Node ${version}`, () => {
      let node: string;

      beforeAll(async () => {
        node = await installed().installNode(version);
        expect(await installed().run(node, "--version")).toMatch(new RegExp(`^v${version}\\.`));
      }, 300_000);

      it.each([
        ["esm-typescript", "dist/erase.js", join("model", UNET)],
        ["commonjs", "erase.js", "model/model.safetensors"],
      ])("come to the same bits: %s", async (example, script, weights) => {
        const out = `out-${version}`;
        await erase(node, example, script, out);
        for (const file of [weights, "gone.png", "back.png"])
          expect(same(join(example, out, file), join(example, "out", file))).toBe(true);
      });
    });
  }
}
