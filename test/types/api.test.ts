import { join, relative } from "node:path";
import ts from "typescript";
import { CONSUMER } from "../support/consumer";

const root = join(__dirname, "..", "..");

/** Messages of the compiler, under a strict consumer's options, for a file that takes the library from `library`. */
function diagnose(file: string, library: string): string[] {
  // The library's own declarations are read as closely as the file.
  const options = { ...CONSUMER, skipLibCheck: false };
  const host = ts.createCompilerHost(options);
  host.resolveModuleNameLiterals = (literals, containing) =>
    literals.map(({ text }) =>
      text === "../../lib/index"
        ? { resolvedModule: { resolvedFileName: library, extension: ts.Extension.Dts } }
        : ts.resolveModuleName(text, containing, options, host),
    );
  const program = ts.createProgram([file], options, host);
  return ts
    .getPreEmitDiagnostics(program)
    .filter((diagnostic) => !diagnostic.file?.fileName.includes("node_modules"))
    .map(({ file: source, messageText }) => {
      const place = source === undefined ? "" : `${relative(root, source.fileName)}: `;
      return place + ts.flattenDiagnosticMessageText(messageText, "\n");
    });
}

describe("the published declarations", () => {
  it("compile by themselves, and type the public API as the sources do", () => {
    expect(diagnose(join(__dirname, "api.test-d.ts"), join(root, "dist", "index.d.ts"))).toEqual([]);
  });
});
