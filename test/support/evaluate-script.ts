import { spawnSync } from "node:child_process";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const SCRIPTS = resolve(__dirname, "../../scripts");

/**
 * Evaluates an expression over the exports `m` of a module of scripts/, which are ES modules that jest cannot load.
 * @param module its path below scripts/   @throws what the expression throws, as text
 */
export function evaluateScript(module: string, expression: string): unknown {
  const url = pathToFileURL(resolve(SCRIPTS, module)).href;
  const script = `import * as m from ${JSON.stringify(url)}; console.log(JSON.stringify(${expression}))`;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
    encoding: "utf8",
  });
  if (stdout === "") throw new Error(stderr);
  return JSON.parse(stdout);
}
