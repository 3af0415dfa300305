import { join } from "node:path";
import ts from "typescript";

const entry = join(__dirname, "../../lib/index.ts");
const config = join(__dirname, "../../tsconfig.json");

describe("the public API", () => {
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
