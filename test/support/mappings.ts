import { readFileSync } from "node:fs";

/** What a process holds of the files below a path: number of mappings, and bytes. */
export interface Mappings {
  count: number;
  /** Every page in full. */
  rss: number;
  /** Every page divided by how often it is mapped, by all processes together. */
  pss: number;
  /** Pages that were written to. */
  privateDirty: number;
}

/** Reads /proc/PID/smaps. */
export function mappingsOf(pid: number | "self", path: string): Mappings {
  const found = { count: 0, rss: 0, pss: 0, privateDirty: 0 };
  let inside = false;
  for (const line of readFileSync(`/proc/${pid}/smaps`, "utf8").split("\n")) {
    const field = /^(\w+):\s+(\d+) kB/.exec(line);
    if (field === null) {
      if (!/^[0-9a-f]+-[0-9a-f]+ /.test(line)) continue;
      inside = line.includes(path);
      if (inside) found.count++;
    } else if (inside) {
      const bytes = Number(field[2]) * 1024;
      if (field[1] === "Rss") found.rss += bytes;
      if (field[1] === "Pss") found.pss += bytes;
      if (field[1] === "Private_Dirty") found.privateDirty += bytes;
    }
  }
  return found;
}
