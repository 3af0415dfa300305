import { createRequire } from "node:module";
import { join } from "node:path";
import ts from "typescript";
import * as index from "../../lib/index";
import * as internal from "../../lib/internal";
import * as manifest from "../../package.json";

const root = join(__dirname, "../..");
const entry = join(root, "lib/index.ts");
const config = join(__dirname, "../../tsconfig.json");

describe("the public API", () => {
  it("gives its classes their own names in the built file, for messages and stacks", () => {
    const built = createRequire(__filename)("../../dist/index.js") as Record<string, unknown>;
    const classes = Object.entries(built).filter(
      ([, value]) => typeof value === "function" && /^class\b/.test(Function.prototype.toString.call(value)),
    ) as [string, new () => unknown][];
    expect(classes.length).toBeGreaterThan(15);
    expect(classes.filter(([name, type]) => type.name !== name).map(([, type]) => type.name)).toEqual([]);
  });

  it("documents every exported name", () => {
    const { options } = ts.parseJsonConfigFileContent(
      ts.readConfigFile(config, (path) => ts.sys.readFile(path)).config,
      ts.sys,
      join(__dirname, "../.."),
    );
    const program = ts.createProgram([entry], options);
    const checker = program.getTypeChecker();
    const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(entry)!)!);
    expect(exported.length).toBeGreaterThan(30);
    const undocumented = exported.filter((symbol) => {
      const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
      // A namespace is documented by the file that it stands for.
      if (target.flags & ts.SymbolFlags.ValueModule) return false;
      return target.getDocumentationComment(checker).length === 0;
    });
    expect(undocumented.map(({ name }) => name)).toEqual([]);
  });
});

describe("what is built", () => {
  // eslint-disable-next-line @typescript-eslint/no-require-imports -- the path is not known to the compiler
  const built = (name: string) => require(join(root, "dist", name)) as Record<string, unknown>;

  it("has the public names in index.js, those of the programs in internal.js, and each once", () => {
    const { index: shared, ...others } = built("internal.js");
    expect(Object.keys(built("index.js")).sort()).toEqual(Object.keys(index).sort());
    expect(Object.keys({ index: shared, ...others }).sort()).toEqual(Object.keys(internal).sort());
    for (const [name, value] of Object.entries(built("index.js"))) {
      expect(value).toBe((shared as typeof others)[name]);
      if (name in others) expect(others[name]).toBe(value);
    }
  });

  it("gives users the public names alone", () => {
    expect(Object.keys(manifest.exports)).toEqual([".", "./package.json"]);
  });
});
