import { existsSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";

/**
 * Where a program of another project lies: beside the Python that KPOP_PYTHON names, or on the PATH.
 * @returns null where it does not lie there @throws in continuous integration, which has to have it
 */
export function outsideProgram(name: string): string | null {
  const python = process.env["KPOP_PYTHON"];
  const folders = [
    ...(python === undefined ? [] : [dirname(python)]),
    ...(process.env["PATH"] ?? "").split(delimiter),
  ];
  const found = folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
  if (found !== undefined) return found;
  if (process.env["CI"] === "true")
    throw new Error(`There is no ${name} on the PATH, nor beside KPOP_PYTHON; .ci/run is to install it`);
  return null;
}

/** A test of a program, which is skipped, by a title that says so, where the program is not there. */
export function testWith(name: string, title: string, test: (program: string) => Promise<void>): void {
  const found = outsideProgram(name);
  if (found === null) it.skip(`${title} (there is no ${name} here)`, () => undefined);
  else it(title, () => test(found));
}
