import { spawn } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { evaluateScript } from "../../support/evaluate-script";
import { temporaryFolders } from "../../support/temporary";

const folder = temporaryFolders();
const scripts = resolve(__dirname, "../../../scripts/setup");

const evaluate = (module: string, expression: string): unknown =>
  evaluateScript(`setup/${module}.mjs`, expression);

describe("stamps", () => {
  const root = folder();
  const hash = (paths = ["src", "one.txt"], salt = "") =>
    evaluate(
      "stamp",
      `m.hashFiles(${JSON.stringify(root)}, ${JSON.stringify(paths)}, ${JSON.stringify(salt)})`,
    );

  beforeEach(() => {
    rmSync(join(root, "src"), { recursive: true, force: true });
    mkdirSync(join(root, "src/deep"), { recursive: true });
    writeFileSync(join(root, "src/deep/a.cpp"), "a");
    writeFileSync(join(root, "one.txt"), "1");
  });

  it("stay the same when a file is written again as it was", () => {
    const before = hash();
    writeFileSync(join(root, "src/deep/a.cpp"), "a");
    expect(hash()).toBe(before);
  });

  it("change with content, names, additions, removals and the salt", () => {
    const seen = [hash(), hash(undefined, "salt")];
    writeFileSync(join(root, "src/deep/a.cpp"), "b");
    seen.push(hash());
    writeFileSync(join(root, "src/deep/b.cpp"), "");
    seen.push(hash());
    rmSync(join(root, "src/deep/a.cpp"));
    seen.push(hash());
    rmSync(join(root, "one.txt"));
    seen.push(hash());
    expect(new Set(seen).size).toBe(seen.length);
  });

  it("are current only with the same inputs and all outputs there", () => {
    const [at, out] = [JSON.stringify(root), JSON.stringify(join(root, "one.txt"))];
    expect(evaluate("stamp", `m.isCurrent(${at}, "never", "x", [])`)).toBe(false);
    const after = (inputs: string, outputs: string) =>
      evaluate("stamp", `(m.stamp(${at}, "step", "x"), m.isCurrent(${at}, "step", "${inputs}", ${outputs}))`);
    expect(after("x", `[${out}]`)).toBe(true);
    expect(after("y", `[${out}]`)).toBe(false);
    expect(after("x", `[${out}, "/nowhere/out"]`)).toBe(false);
  });
});

describe("installed packages", () => {
  interface Tree {
    lock?: object;
    hidden?: object | null;
    dependencies?: object;
  }
  const installed = {
    "node_modules/a": { version: "1.0.0" },
    "node_modules/b": { version: "2.0.0" },
  };

  function areCurrent({ lock = {}, hidden = installed, dependencies = { a: "^1.0.0" } }: Tree): unknown {
    const root = folder();
    const declared = { "": { dependencies: { a: "^1.0.0" } } };
    const write = (path: string, content: object) => writeFileSync(join(root, path), JSON.stringify(content));
    write("package.json", { dependencies });
    write("package-lock.json", { packages: { ...declared, ...installed, ...lock } });
    mkdirSync(join(root, "node_modules"));
    if (hidden !== null) write("node_modules/.package-lock.json", { packages: hidden });
    return evaluate("dependencies", `m.dependenciesAreCurrent(${JSON.stringify(root)})`);
  }

  it.each<[string, Tree, boolean]>([
    ["as locked", {}, true],
    [
      "without an optional package of another platform",
      { lock: { "node_modules/c": { version: "1.0.0", optional: true } } },
      true,
    ],
    ["none, or interrupted", { hidden: null }, false],
    ["without one that is needed", { lock: { "node_modules/c": { version: "1.0.0" } } }, false],
    ["in another version", { lock: { "node_modules/b": { version: "2.0.1" } } }, false],
    ["with one too many", { hidden: { ...installed, "node_modules/x": { version: "1.0.0" } } }, false],
    ["while package.json asks for others", { dependencies: { a: "^1.0.0", d: "^3.0.0" } }, false],
  ])("%s", (_name, tree, expected) => {
    expect(areCurrent(tree)).toBe(expected);
  });
});

describe("the lock of a checkout", () => {
  const url = pathToFileURL(join(scripts, "checkout-lock.mjs")).href;

  async function underLock(path: string, body: string): Promise<string> {
    const script = `import { withCheckoutLock } from ${JSON.stringify(url)};
      await withCheckoutLock(${JSON.stringify(path)}, async () => { ${body} });`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script]);
    let output = "";
    child.stdout.on("data", (text: Buffer) => (output += text.toString()));
    await new Promise((done) => child.on("close", done));
    return output;
  }

  it("keeps two set-ups apart", async () => {
    const path = join(folder(), "lock");
    const body =
      "console.log('in', Date.now()); await new Promise((r) => setTimeout(r, 400)); console.log('out', Date.now());";
    const outputs = await Promise.all([underLock(path, body), underLock(path, body)]);
    const spans = outputs
      .map((output) => [...output.matchAll(/(?:in|out) (\d+)/g)].map((match) => Number(match[1])))
      .sort((a, b) => a[0]! - b[0]!);
    expect(spans[1]![0]).toBeGreaterThanOrEqual(spans[0]![1]!);
    expect(outputs.join("")).toMatch(/waiting for the set-up that process \d+ runs/);
  });

  it("is taken over when its holder is gone", async () => {
    const path = join(folder(), "lock");
    writeFileSync(path, "99999999");
    expect(await underLock(path, "console.log('in')")).toBe("in\n");
  });
});
