import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { RunManifest } from "../../lib/erasure/manifest";
import type { Evaluation } from "../../lib/evaluation/evaluation";
import { findLibtorch } from "../../lib/runtime/libtorch";
import { cli } from "../support/cli";
import { temporaryDirectory } from "../support/temporary-directory";
import { codeBlocks, commands, read } from "./markdown";

// A dozen programs, one after the other, beside other tests.
jest.setTimeout(180_000);

/** Fewer of everything: the guide's own figures would take minutes. */
const FEWER: Record<string, readonly string[]> = {
  erase: ["--pool-size", "1", "--sampling-steps", "4"],
  attack: ["--images-per-input", "2", "--pictures", "2"],
};
const FEWER_OF_METHOD: Record<string, readonly string[]> = {
  uce: [],
  "ring-a-bell": ["--population", "4", "--generations", "2", "--tokens", "2"],
  "concept-inversion": ["--iterations", "2"],
};
const SMALLER = new Map([
  ["--iterations", "2"],
  ["--images-per-class", "2"],
  ["--steps", "2"],
  ["--rerun", "2"],
  ["--count", "1"],
]);

/** What is run in place of a command of the guide. */
function shortened([command, ...args]: readonly string[]): string[] {
  const method = args[args.indexOf("--method") + 1]!;
  const fewer = [
    ...(method === "uce" ? [] : (FEWER[command!] ?? [])),
    ...(args.includes("--method") ? FEWER_OF_METHOD[method]! : []),
  ];
  return [command!, ...args.map((word, i) => SMALLER.get(args[i - 1]!) ?? word), ...fewer];
}

describe("the guide from a removal request to a certificate", () => {
  it("runs as it is written, from the model's rates to a certificate that holds", async () => {
    const cwd = temporaryDirectory();
    const env = {
      XDG_CACHE_HOME: join(cwd, "cache"),
      KPOP_LIBTORCH: findLibtorch({ version: null }).directory,
    };
    const said = new Map<string, string>();
    for (const words of codeBlocks(read("docs/removal-request.md")).flatMap(commands)) {
      if (words[0] === "rm") {
        rmSync(join(cwd, words[1]!));
        continue;
      }
      expect(words.slice(0, 2)).toEqual(["npx", "kpop-native"]);
      const args = shortened(words.slice(2));
      const { code, stdout, stderr } = await cli(args, { cwd, env });
      if (code !== 0) throw new Error(`${args.join(" ")} ended with ${code}: ${stderr}`);
      said.set(args[0]!, stdout);
    }
    expect([...said.keys()]).toEqual([
      "evaluate",
      "erase",
      "inspect",
      "compare",
      "attack",
      "report",
      "certify",
      "verify",
    ]);
    const { run } = JSON.parse(said.get("inspect")!) as { run: RunManifest };
    expect(run.neighbours).toContain("castle");
    for (const name of ["before", "measured"]) {
      const { images } = JSON.parse(readFileSync(join(cwd, name, "evaluation.json"), "utf8")) as Evaluation;
      expect(images).toBe(6);
    }
    expect(readdirSync(cwd)).toEqual(
      expect.arrayContaining([
        "attacked-by-pictures",
        "attacked-by-words",
        "report.html",
        "sheet.png",
        "signer.pem.pub",
      ]),
    );
    expect(readdirSync(cwd)).not.toContain("without-church.key.safetensors");
    expect(readFileSync(join(cwd, "without-church/README.md"), "utf8")).toContain("model-index");
  });
});
