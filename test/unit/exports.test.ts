import { createRequire } from "node:module";
import { join } from "node:path";
import ts from "typescript";

const entry = join(__dirname, "../../lib/index.ts");
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
