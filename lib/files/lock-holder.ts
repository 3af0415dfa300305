import { createHash, randomUUID } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";

/** Who holds a lock, as its file says it. */
export interface LockHolder {
  pid: number;
  host: string;
  /** Boot and process namespace: only within the same one do process numbers mean the same. */
  place: string;
  /** When the process started, in clock ticks since boot: a number that is given out again has another. */
  started: string | null;
  /** Tells apart several locks of one process. */
  token: string;
}

/** The running process as the holder of a new lock. */
export function thisHolder(): LockHolder {
  return {
    pid: process.pid,
    host: hostname(),
    place: placeHere(),
    started: startOf(process.pid),
    token: randomUUID(),
  };
}

/** Whether a holder still runs; "unseen" where that cannot be told from here. */
export function stateOf(holder: LockHolder): "alive" | "gone" | "unseen" {
  if (holder.place === "" || holder.place !== placeHere() || holder.started === null) return "unseen";
  return startOf(holder.pid) === holder.started ? "alive" : "gone";
}

/** The running process as the name of a file holds it: process number, start and place, joined by "-". */
export function thisMark(): string {
  mark ??= `${process.pid}-${startOf(process.pid) ?? "x"}-${placeMark()}`;
  return mark;
}

/** `stateOf` for what `thisMark` gave. */
export function stateOfMark(given: string): ReturnType<typeof stateOf> {
  const [pid, started, place] = given.split("-");
  if (started === "x" || place !== placeMark()) return "unseen";
  return startOf(Number(pid)) === started ? "alive" : "gone";
}

let mark: string | undefined;

function placeMark(): string {
  return createHash("sha256").update(placeHere()).digest("hex").slice(0, 8);
}

/** For a message. */
export function describeHolder(holder: LockHolder | null): string {
  return holder === null ? "another process" : `process ${holder.pid} on ${holder.host}`;
}

function placeHere(): string {
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    return `${boot} ${readlinkSync("/proc/self/ns/pid")}`;
  } catch {
    return "";
  }
}

/** Field 22 of /proc/PID/stat (proc_pid_stat(5)); null when no such process runs. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the program's name in parentheses and may hold blanks.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // A killed process stays listed until its parent takes note, which in a container may be never.
    return fields[0] === "Z" || fields[0] === "X" ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}
