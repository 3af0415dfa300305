import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** SHA-256 over the paths and contents of files and folders; content, since a checkout changes times without cause. */
export function hashFiles(root, paths, salt = "") {
  const hash = createHash("sha256").update(salt);
  for (const path of paths) add(hash, root, path);
  return hash.digest("hex");
}

/** Whether a step ran last on these inputs and its outputs are still there. */
export function isCurrent(folder, name, inputs, outputs) {
  const file = join(folder, `${name}.stamp`);
  return (
    existsSync(file) && readFileSync(file, "utf8") === inputs && outputs.every((path) => existsSync(path))
  );
}

/** Notes that a step has run on these inputs; call it after the work, so that an interrupted step runs again. */
export function stamp(folder, name, inputs) {
  writeFileSync(join(folder, `${name}.stamp`), inputs);
}

function add(hash, root, path) {
  const full = join(root, path);
  const found = statSync(full, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (found.isDirectory()) {
    for (const name of readdirSync(full).sort()) add(hash, root, join(path, name));
  } else {
    hash.update(`\0${path}\0${found.size}\0`).update(readFileSync(full));
  }
}
