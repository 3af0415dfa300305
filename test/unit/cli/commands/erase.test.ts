import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RunLog, RunManifest } from "../../../../lib/index";
import { cli, jsonLines, type CliResult } from "../../../support/cli";
import { temporaryFolders } from "../../../support/temporary";

const folder = temporaryFolders();
const ITERATIONS = 5;
const TINY = ["--sampling-steps", "4", "--pool-size", "2", "--parameters", "xattn-kv", "--seed", "7"];
const run = (...rest: string[]) => [
  ...["erase", "pocket", "--concept", "church", "--iterations", String(ITERATIONS)],
  ...TINY,
  ...rest,
];

function hash(...path: string[]): string {
  return createHash("sha256")
    .update(readFileSync(join(...path)))
    .digest("hex");
}

const UNET = "out/unet/diffusion_pytorch_model.safetensors";

describe("kpop-native erase", () => {
  let cwd: string;
  let result: CliResult;

  beforeAll(async () => {
    cwd = folder();
    result = await cli(run("--out", "out"), { cwd });
  });

  it("keeps its command and its losses beside the manifest", () => {
    const log = JSON.parse(readFileSync(join(cwd, "out/kpop-log.json"), "utf8")) as RunLog;
    expect(log.command).toMatch(/^kpop-native erase pocket .*--out out/);
    expect(log.steps.map(({ iteration }) => iteration)).toEqual(
      Array.from({ length: ITERATIONS }, (_, i) => i + 1),
    );
    expect(Object.keys(log.steps[0]!.losses)).toContain("erase");
  });

  it("saves the model, its manifest and the key, and shows the command that tries them", () => {
    expect(result).toMatchObject({ code: 0, signal: null });
    expect(readdirSync(cwd).sort()).toEqual(["out", "out.key.safetensors"]);
    expect(readdirSync(join(cwd, "out"))).toEqual(
      expect.arrayContaining(["model_index.json", "kpop-run.json"]),
    );
    expect(JSON.parse(readFileSync(join(cwd, "out/kpop-run.json"), "utf8"))).toMatchObject({
      concepts: ["church"],
      seed: 7,
      iterations: ITERATIONS,
      options: { samplingSteps: 4, poolSize: 2, parameters: "xattn-kv" },
    });
    expect(result.stdout).toMatch(
      /generate out --prompt church --key out\.key\.safetensors --out recovered\.png\n/,
    );
  });

  it("says on a dry run what it would take, and writes nothing", async () => {
    const empty = folder();
    const dry = (...rest: string[]) => cli([...run("--dry-run"), ...rest], { cwd: empty });
    const words = await dry();
    expect(words).toMatchObject({ code: 0, signal: null });
    expect(words.stdout).toMatch(/^memory {2}.* at most, of .* available$/m);
    expect(words.stdout).toMatch(/^ {2}Adam's moments +[\d.]+ [kM]B$/m);
    expect(words.stdout).toMatch(/^ {2}5 iterations +[\d.]+ m?s$/m);
    const { stdout } = await dry("--json", "--out", "out");
    const [{ event, time }, ...others] = jsonLines(stdout) as [
      { event: string; time: { unetEvaluations: number; iterations: number } },
    ];
    const { unetEvaluations } = JSON.parse(
      readFileSync(join(cwd, "out/kpop-run.json"), "utf8"),
    ) as RunManifest;
    expect({ event, others, ...time }).toMatchObject({
      event: "estimate",
      others: [],
      iterations: ITERATIONS,
      unetEvaluations,
    });
    expect(readdirSync(empty)).toEqual([]);
  });

  it("refuses on a dry run what a run refuses", async () => {
    const refused = await cli(run("--dry-run", "--out", "out"), { cwd });
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/out/);
    const wrong = await cli(run("--dry-run", "--batch-size", "3"), { cwd });
    expect(wrong).toMatchObject({ code: 2, stdout: "" });
    expect(wrong.stderr).toMatch(/poolSize|--pool-size/);
  });

  it("tells on stderr how far it is, without control characters where no terminal is", () => {
    expect(result.stderr).toMatch(
      /^iteration 1 of 5 .* s left {2}transfer \S+ {2}select \S+ {2}erase \S+ {2}recover \S+ {2}preserve \S+$/m,
    );
    expect(result.stderr).toMatch(/^iteration 5 of 5/m);
    expect(result.stderr).not.toContain("\u001b");
  });

  it.each([
    ["a folder that is not empty", ["--out", "out"], /The folder out is not empty; .* --force/],
    [
      "a key that exists",
      ["--out", "new", "--key", "out.key.safetensors"],
      /out\.key\.safetensors exists; .* --force/,
    ],
    ["a key in a folder that is not there", ["--out", "new", "--key", "no/key"], /there is no folder no$/m],
  ])("refuses %s before any work", async (_, args, message) => {
    const before = hash(cwd, UNET);
    const { code, stdout, stderr } = await cli(run(...args), { cwd });
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/Loading|^ +at /m);
    expect(hash(cwd, UNET)).toBe(before);
  });

  it.each([
    ["the key", ["--key", "new/key"], "--key"],
    ["the state", ["--checkpoint", "new/state"], "--checkpoint"],
  ])("refuses to put %s into the model's folder", async (_, args, flag) => {
    const { code, stderr } = await cli(run("--out", "new", ...args), { cwd });
    expect(code).toBe(2);
    expect(stderr).toContain(`Expected ${flag} to lie outside of new`);
  });

  it("never writes over its input, nor over the key of other concepts", async () => {
    const before = hash(cwd, UNET);
    const again = ["erase", "out", "--concept", "dog", "--iterations", "1", ...TINY, "--force"];
    for (const [args, code, message] of [
      [["--out", "out"], 2, /Cannot write out: it is out, which the model comes from/],
      [["--out", "."], 2, /Cannot write \.: it holds/],
      [["--out", "out/second"], 2, /it lies in/],
      [["--out", "new", "--key", "out/model_index.json"], 2, /it lies in/],
      [["--out", "new", "--key", "out.key.safetensors"], 1, /is the key of "church", and nothing else/],
    ] as const) {
      const refused = await cli([...again, ...args], { cwd });
      expect(refused).toMatchObject({ code, stderr: expect.stringMatching(message) as string });
      expect(refused.stderr).not.toContain("Loading");
    }
    expect(hash(cwd, UNET)).toBe(before);
    expect(readdirSync(cwd).sort()).toEqual(["out", "out.key.safetensors"]);
  });

  it("says the library's errors in terms of flags", async () => {
    const { code, stderr } = await cli(run("--out", "new", "--prompt-size", "0"), { cwd });
    expect(code).toBe(2);
    expect(stderr).toMatch(/^error: Expected --prompt-size to be an integer .* but received "0"$/m);
    expect(stderr).not.toContain("Loading");
  });

  it.each([
    ["nothing", ["--format", "lora", "--rank", "0"], "Expected --rank to be at least 1 but received 0"],
    ["another format", ["--rank", "4"], "--rank needs --format lora or --as lora"],
  ])("refuses a rank of %s before any work", async (_, args, sentence) => {
    const { code, stderr } = await cli(run("--out", "new", ...args), { cwd });
    expect(code).toBe(2);
    expect(stderr).toContain(`error: ${sentence}\n`);
    expect(stderr).not.toContain("Loading");
  });

  it("saves a delta where no LoRA holds the change, and says so", async () => {
    const other = folder();
    const training = [
      "--method",
      "ca",
      "--anchor",
      "castle",
      "--parameters",
      "embedding",
      "--iterations",
      "1",
    ];
    const pictures = ["--images", "2", "--sampling-steps", "2", "--cache-directory", "cache"];
    const args = ["erase", "pocket", "--concept", "church", "--out", "out", "--format", "lora"];
    const { code, stdout, stderr } = await cli([...args, ...training, ...pictures], { cwd: other });
    expect(code).toBe(0);
    expect(stderr).toMatch(
      /^The change cannot be written as a LoRA: 1 changed tensor .* Saving a delta instead$/m,
    );
    expect(stdout).toContain("The delta holds only what changed");
    expect(readdirSync(join(other, "out")).sort()).toEqual([
      "delta.safetensors",
      "kpop-log.json",
      "kpop-run.json",
    ]);
  });

  it("trains a LoRA and saves it as it is, and says which methods do not", async () => {
    const other = folder();
    const args = run("--out", "out", "--iterations", "1", "--as", "lora", "--rank", "2", "--format", "lora");
    const { code, stdout } = await cli(args, { cwd: other });
    expect(code).toBe(0);
    expect(stdout).toContain(
      "The LoRA holds 100.0 % of the change (as squares); load it onto pocket at strength 1",
    );
    const manifest = JSON.parse(readFileSync(join(other, "out/kpop-run.json"), "utf8")) as object;
    expect(manifest).toMatchObject({ options: { as: "lora", rank: 2, parameters: "xattn-kv" } });
    const described = await cli(["inspect", join("out", "lora.safetensors")], { cwd: other });
    expect(described.stdout).toMatch(/rank +2\n/);
    const refused = await cli(["erase", "pocket", "--method", "uce", "--concept", "church", "--out", "new", "--as", "lora"], { cwd: other }); // prettier-ignore
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(
      /^error: Expected --as to be "weights" with "uce", which is a closed form and trains nothing/m,
    );
    expect(refused.stderr).not.toContain("Loading");
  });

  it("says where models come from when there is none", async () => {
    const args = ["erase", "some/model", "--concept", "x", "--out", "new", "--json"];
    const { code, stdout, stderr } = await cli(args, { cwd });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: There is no model at some\/model; .*hub/);
    expect(jsonLines(stdout)).toEqual([expect.objectContaining({ event: "error", code: "NOT_FOUND" })]);
  });

  it("stops at an interrupt, and goes on to the bits of a run that was not interrupted", async () => {
    const other = folder();
    writeFileSync(join(other, "passphrase"), "correct horse\n");
    const args = run("--out", "out", "--checkpoint", "state", "--json", "--passphrase-file", "passphrase");
    let steps = 0;
    const first = await cli(args, {
      cwd: other,
      onLine: (line, kill) => {
        if (line.includes('"step"') && ++steps === 2) kill("SIGINT");
      },
    });
    expect(first.code).toBe(130);
    expect(first.stderr).toMatch(
      /^Interrupted after \d of 5 iterations\. The state is saved in state; go on with\n.* --resume$/m,
    );
    expect(readdirSync(other).sort()).toEqual(["passphrase", "state"]);
    const events = jsonLines(first.stdout);
    expect(events[0]).toMatchObject({ event: "start", resumed: 0 });
    expect(events.at(-1)).toMatchObject({ event: "error", code: "ABORTED" });
    const done = events.filter(({ event }) => event === "step").length;

    const again = await cli(args, { cwd: other });
    expect(again.code).toBe(1);
    expect(again.stderr).toMatch(/state holds the state of a run; go on with it \(--resume\)/);

    const second = await cli([...args, "--resume"], { cwd: other });
    expect(second.code).toBe(0);
    const lines = jsonLines(second.stdout);
    expect(lines[0]).toMatchObject({ event: "start", resumed: done });
    expect(lines.map(({ event, iteration }) => [event, iteration])).toEqual([
      ["start", undefined],
      ...Array.from({ length: ITERATIONS - done }, (_, i) => ["step", done + 1 + i]),
      ["done", undefined],
    ]);
    expect(lines.at(-1)).toMatchObject({ model: "out", key: "out.key.safetensors", iterations: ITERATIONS });
    expect(hash(other, UNET)).toBe(hash(cwd, UNET));
    const key = await cli(["inspect", "out.key.safetensors", "--json"], { cwd: other });
    expect(jsonLines(key.stdout)).toEqual([expect.objectContaining({ kind: "key", encrypted: true })]);
  });

  it("says that nothing was saved where no checkpoint was asked for", async () => {
    const other = folder();
    let steps = 0;
    const { code, stdout, stderr } = await cli(run("--out", "out", "--json"), {
      cwd: other,
      onLine: (line, kill) => {
        if (line.includes('"step"') && ++steps === 1) kill("SIGTERM");
      },
    });
    expect(code).toBe(130);
    expect(stderr).toMatch(/Nothing was saved; with --checkpoint <dir> a run can be resumed/);
    expect(jsonLines(stdout).length).toBeGreaterThan(1);
    expect(readdirSync(other)).toEqual([]);
  });

  it("with a method that gives no key speaks of none, and leaves a key that stands there alone", async () => {
    const other = folder();
    writeFileSync(join(other, "out.key.safetensors"), "of another model");
    const esd = run("--out", "out", "--method", "esd", "--iterations", "1");
    const { code, stdout } = await cli(esd, { cwd: other });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^See what is left:$/m);
    expect(stdout).not.toContain("key");
    expect(readFileSync(join(other, "out.key.safetensors"), "utf8")).toBe("of another model");
    for (const more of ["--key", "--passphrase-file"]) {
      const refused = await cli([...run("--out", "new", "--method", "esd"), more, "file"], { cwd: other });
      expect(refused.code).toBe(2);
      expect(refused.stderr).toContain(`${more} is for a method that gives a key (kpop), not esd`);
    }
  });

  it("keeps words of a file beside what --preserve names, and tells them wherever it tells of the run", async () => {
    const other = folder();
    writeFileSync(join(other, "words.txt"), "\ufeffdog\r\n\n  fish \nradio\nchurches\n");
    const uce = ["erase", "pocket", "--concept", "church", "--method", "uce", "--out", "out", "--json"];
    const { code, stdout } = await cli([...uce, "--neighbour-words", "words.txt", "--neighbour-count", "2"], {
      cwd: other,
    });
    expect(code).toBe(0);
    const { neighbours } = jsonLines(stdout).at(-1) as { neighbours: string[] };
    expect(neighbours).toHaveLength(2);
    expect(["dog", "fish", "radio"]).toEqual(expect.arrayContaining(neighbours));
    expect(JSON.parse(readFileSync(join(other, "out/kpop-run.json"), "utf8"))).toMatchObject({
      neighbours,
      options: { neighbours: { choose: "nearest", count: 2, words: ["dog", "fish", "radio", "churches"] } },
    });
    const told = neighbours.map((word) => `"${word}"`).join(", ");
    expect(readFileSync(join(other, "out/README.md"), "utf8")).toContain(`| kept as neighbours | ${told} |`);
    const found = await cli(["inspect", "out/kpop-run.json"], { cwd: other });
    expect(found.stdout).toMatch(new RegExp(`^ {2}neighbours +${told}$`, "m"));
  });

  it.each([
    ["another choice", ["--neighbours", "near"], 2, /Expected --neighbours to be one of .* received "near"/],
    ["none of them", ["--neighbour-count", "0"], 2, /Expected --neighbour-count to be .* received "0"/],
    ["no file", ["--neighbour-words", "no.txt"], 1, /Cannot read the words from no\.txt: it does not exist/],
    ["an empty file", ["--neighbour-words", "/dev/null"], 2, /Expected words in \/dev\/null, one a line/],
    ["a method without use for them", ["--method", "sld", "--neighbours", "nearest"], 2, /"off" with "sld"/],
  ])("refuses %s for neighbours", async (_, args, code, message) => {
    const refused = await cli(["erase", "pocket", "--concept", "church", "--out", "out", ...args], {
      cwd: folder(),
    });
    expect(refused).toMatchObject({ code, stdout: "", stderr: expect.stringMatching(message) as string });
  });

  it("tells how far the pictures are that CA trains on, and keeps them where it is told to", async () => {
    const other = folder();
    const ca = ["--method", "ca", "--anchor", "castle", "--images", "2", "--sampling-steps", "1"];
    const args = ["erase", "pocket", "--concept", "church", ...ca, "--cache-directory", join(other, "kept")];
    const { code, stdout, stderr } = await cli([...args, "--iterations", "1", "--out", "out", "--json"], {
      cwd: other,
    });
    expect(code).toBe(0);
    expect(stderr).toMatch(/^picture 2 of 2 {2}made\niteration 1 of 1 {2}erase/m);
    expect(jsonLines(stdout)).toContainEqual({
      event: "prepare",
      what: "picture",
      done: 2,
      total: 2,
      etaSeconds: 0,
    });
    expect(readdirSync(other).sort()).toEqual(["kept", "out"]);
  });

  it.each([
    [
      "beside its place, when another got that meanwhile",
      "deep/out-rescued-1",
      "deep/out-rescued-1.key.safetensors",
    ],
    [
      "in the system's temporary folder, when nothing can be saved there any more",
      "model",
      "key.safetensors",
    ],
  ])("keeps the result %s, and says so", async (where, model, key) => {
    const other = folder();
    const temporary = folder();
    const beside = where.startsWith("beside");
    let steps = 0;
    const { code, stderr, stdout } = await cli(run("--out", "deep/out", "--json"), {
      cwd: other,
      env: { TMPDIR: temporary },
      onLine: (line) => {
        if (!line.includes('"step"') || ++steps !== 1) return;
        if (!beside) {
          rmSync(join(other, "deep"), { recursive: true });
          writeFileSync(join(other, "deep"), "a file");
        } else {
          mkdirSync(join(other, "deep/out"));
          writeFileSync(join(other, "deep/out/notes.txt"), "mine");
        }
      },
    });
    expect(code).toBe(1);
    expect(jsonLines(stdout).at(-1)).toMatchObject({
      event: "error",
      code: beside ? "OUTPUT_NOT_EMPTY" : "NOT_FOUND",
    });
    const at = beside ? other : join(temporary, readdirSync(temporary)[0]!);
    expect(stderr).toMatch(
      beside
        ? /^The result is saved in \S+\/deep\/out-rescued-1, its key in \S+: move it where it belongs$/m
        : /^The result is saved as a delta in \S+kpop-rescued-\S+, with its key: copy it .* onto pocket$/m,
    );
    const found = await cli(["inspect", join(at, key), "--json"]);
    expect(jsonLines(found.stdout)[0]).toMatchObject({ kind: "key", concepts: ["church"] });
    expect(readdirSync(join(at, model))).toContain("kpop-run.json");
    expect(readdirSync(join(at, model))).toContain(beside ? "unet" : "delta.safetensors");
    if (beside) expect(readdirSync(join(other, "deep/out"))).toEqual(["notes.txt"]);
  });

  it("keeps its place from the first moment, and gives it back", async () => {
    const other = folder();
    let second: Promise<CliResult> | undefined;
    const args = run("--out", "deep/out", "--json");
    const long = args.map((arg, i) => (args[i - 1] === "--iterations" ? "100000" : arg));
    const first = await cli(long, {
      cwd: other,
      onLine: (line, kill) => {
        if (!line.includes('"step"') || second !== undefined) return;
        second = cli(run("--out", "deep/out"), { cwd: other }).finally(() => kill("SIGINT"));
      },
    });
    expect(first.code).toBe(130);
    expect(await second).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^error: Another run is to write deep\/out \(process \d+ on /) as string,
    });
    expect(readdirSync(other)).toEqual([]);
  });

  it("says that the pictures CA has made are kept when it is interrupted while it makes them", async () => {
    const other = folder();
    let reports = 0;
    const ca = ["--method", "ca", "--anchor", "castle", "--images", "400", "--sampling-steps", "2"];
    const args = [
      "erase",
      "pocket",
      "--concept",
      "church",
      ...ca,
      "--cache-directory",
      "kept",
      "--out",
      "out",
    ];
    const { code, stderr } = await cli([...args, "--json"], {
      cwd: other,
      onLine: (line, kill) => {
        if (/"prepare".*"done":[1-9]/.test(line) && ++reports === 1) kill("SIGINT");
      },
    });
    expect(code).toBe(130);
    const [, kept] =
      /^Interrupted before the first iteration\. (\d+) pictures of 400 are kept; the same/m.exec(stderr)!;
    const made = readdirSync(join(other, "kept"), { recursive: true }).filter((name) =>
      String(name).endsWith(".png"),
    );
    expect(made.length).toBeGreaterThanOrEqual(Number(kept));
  });

  it("dies at once of a second interrupt", async () => {
    const other = folder();
    // One iteration of this takes far longer than the test.
    const slow = ["--sampling-steps", "4", "--pool-size", "400", "--batch-size", "400", "--iterations", "2"];
    const started = Date.now();
    let timer: NodeJS.Timeout | undefined;
    const { code, signal } = await cli(
      ["erase", "pocket", "--concept", "x", "--out", "out", "--json", ...slow],
      {
        cwd: other,
        onLine: (_, kill) => {
          kill("SIGINT");
          timer = setTimeout(() => kill("SIGINT"), 700);
        },
      },
    );
    clearTimeout(timer);
    expect({ code, signal }).toEqual({ code: null, signal: "SIGINT" });
    expect(Date.now() - started).toBeLessThan(20_000);
  });

  it.each([
    ["single-file", "out/model.safetensors"],
    ["delta", "out/delta.safetensors"],
  ])("saves as %s, over an old result when forced", async (format, weights) => {
    const other = folder();
    mkdirSync(join(other, "out"));
    writeFileSync(join(other, "out/kpop-run.json"), "{}");
    writeFileSync(join(other, "out.key.safetensors"), "old");
    const args = ["erase", "pocket", "--concept", "church", "--iterations", "1", ...TINY];
    const forced = [...args, "--format", format, "--out", "out/", "--force", "--json"];
    const { code, stdout } = await cli(forced, { cwd: other });
    expect(code).toBe(0);
    expect(jsonLines(stdout).at(-1)).toMatchObject({ event: "done", format, model: weights });
    expect(existsSync(join(other, weights))).toBe(true);
    expect(statSync(join(other, "out.key.safetensors")).size).toBeGreaterThan(1000);
    expect(readdirSync(other).sort()).toEqual(["out", "out.key.safetensors"]);
  });
});
