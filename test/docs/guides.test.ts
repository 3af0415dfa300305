import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { Command } from "commander";
import ts from "typescript";
import { CONSUMER } from "../support/consumer";
import { scripts } from "../../package.json";
import { brokenLinks, codeBlocks, commands, guides, moduleOf, read } from "./markdown";

const ROOT = resolve(__dirname, "../..");

/** What the compiler says of modules that take the library as users do, by file and line. */
function diagnose(modules: ReadonlyMap<string, string>): string[] {
  const options = { ...CONSUMER, skipLibCheck: true };
  const host = ts.createCompilerHost(options);
  const { readFile, fileExists } = host;
  host.readFile = (path) => modules.get(path) ?? readFile(path);
  host.fileExists = (path) => modules.has(path) || fileExists(path);
  const library = { resolvedFileName: join(ROOT, "dist/index.d.ts"), extension: ts.Extension.Dts };
  host.resolveModuleNameLiterals = (literals, containing) =>
    literals.map(({ text }) =>
      text === "kpop-native"
        ? { resolvedModule: library }
        : ts.resolveModuleName(text, containing, options, host),
    );
  return ts
    .getPreEmitDiagnostics(ts.createProgram([...modules.keys()], options, host))
    .map(({ file, start, messageText }) => {
      const line = file === undefined ? 0 : file.getLineAndCharacterOfPosition(start!).line + 1;
      const message = ts.flattenDiagnosticMessageText(messageText, "\n");
      return `${file?.fileName.replace(/\.ts$/, "")}:${line}: ${message}`;
    });
}

/** The command line's commands, which parse and do nothing. */
async function silentProgram(): Promise<Command> {
  const program = new Command("kpop-native").exitOverride().configureOutput({ writeErr: () => undefined });
  for (const file of readdirSync(join(ROOT, "lib/cli/commands"))) {
    const registered = (await import(`../../lib/cli/commands/${file}`)) as Record<string, unknown>;
    for (const [name, register] of Object.entries(registered))
      if (/^register/.test(name)) (register as (program: Command) => void)(program);
  }
  const silence = (command: Command): void => {
    command.exitOverride().action(() => undefined);
    command.commands.forEach(silence);
  };
  program.commands.forEach(silence);
  return program;
}

describe("README.md and the guides", () => {
  it("have TypeScript that compiles against the published declarations", () => {
    const modules = new Map(
      guides().map((path): [string, string] => [join(ROOT, `${path}.ts`), moduleOf(read(path))]),
    );
    expect([...modules.values()].join("").match(/\berase\(/g)!.length).toBeGreaterThan(2);
    expect(diagnose(modules)).toEqual([]);
    const wrong = "text\n```ts\nimport { erase } from 'kpop-native';\n```\n```ts\nawait erase(3);\n```\n";
    expect(diagnose(new Map([["/wrong.md.ts", moduleOf(wrong)]]))).toEqual([
      expect.stringMatching(/^\/wrong\.md:6: Expected 2 arguments/),
    ]);
  });

  it("have commands that the command line takes", async () => {
    const typed = guides()
      .flatMap((path) => codeBlocks(read(path)))
      .filter(({ language }) => language === "sh")
      .flatMap(commands);
    const ours = typed.filter(([word, name]) => word === "npx" && name === "kpop-native");
    expect(ours.length).toBeGreaterThan(20);
    for (const [, , ...args] of ours) {
      const program = await silentProgram();
      const problem = await program.parseAsync(args, { from: "user" }).then(
        () => null,
        (error: Error) => error.message,
      );
      expect([args, problem]).toEqual([args, null]);
    }
    const run = typed.filter(([word, name]) => word === "npm" && name === "run").map(([, , name]) => name!);
    expect(run.filter((name) => !(name in scripts))).toEqual([]);
  });

  it.each(guides())("%s has no link that leads nowhere", (path) => {
    expect(brokenLinks(path)).toEqual([]);
  });

  it("make a site without a warning, in which every type is that the API mentions", async () => {
    // It says what is wrong on both of its streams.
    const typedoc = promisify(execFile)(join(ROOT, "node_modules/.bin/typedoc"), ["--emit", "none"], {
      cwd: ROOT,
    });
    const said = await typedoc.catch(
      ({ stdout, stderr }: Record<"stdout" | "stderr", string>) => stdout + stderr,
    );
    expect(said).not.toEqual(expect.any(String));
  }, 180_000);
});
