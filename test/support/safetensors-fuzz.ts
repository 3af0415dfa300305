import { closeSync, ftruncateSync, mkdtempSync, openSync, readdirSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KpopError } from "../../lib/errors";
import { headerLength, parseHeader } from "../../lib/io/safetensors-header";
import type { SafetensorsHeader } from "../../lib/io/safetensors-header";
import { readHeader } from "../../lib/io/safetensors-reader";
import { fileCase } from "./safetensors-cases";
import type { FileCase } from "./safetensors-cases";
import { judge } from "./safetensors-oracle";
import type { Verdict } from "./safetensors-oracle";

export interface FuzzReport {
  cases: number;
  accepted: number;
  /** Cases that were read from a file too. */
  files: number;
  seconds: number;
  /** Processor time of the reader. */
  slowestMs: number;
  /** Largest resident size after the first tenth of the run, less that after it. */
  growthMib: number;
  longestMessage: number;
}

export interface FuzzOptions {
  seed: number;
  cases: number;
  onProgress?(done: number): void;
}

type Outcome = SafetensorsHeader | KpopError;

const PATH = "x.safetensors";
const EVERY_FILE = 500;
const LARGEST_FILE = 2 ** 40;
const SAMPLE_EVERY = 500;
/** Processor time that a case may take; one that takes more is done over, since it may have met the garbage collector
 *  or the compiler, which count too. */
export const MOST_MS = 50;
/** What the resident size may grow by. */
export const MOST_MIB = 256;
/** Names, shapes and dtypes of any length are quoted in part. */
export const LONGEST_MESSAGE = 1000;
const TRIES = 5;

/** Reads seeded right and wrong headers, and throws where the reader and the oracle differ, or where anything else than
 *  INVALID_SAFETENSORS is thrown, and measures time and memory. */
export async function fuzzHeaders({ seed, cases, onProgress }: FuzzOptions): Promise<FuzzReport> {
  const started = performance.now();
  const report = { cases, accepted: 0, files: 0, seconds: 0, slowestMs: 0, growthMib: 0, longestMessage: 0 };
  const folder = mkdtempSync(join(tmpdir(), "kpop-fuzz-"));
  let base = Infinity;
  try {
    for (let index = 0; index < cases; index++) {
      const input = fileCase(seed, index);
      const { outcome, milliseconds } = timed(() => parse(input));
      const verdict = judge(input.head, input.size);
      compare(verdict, outcome, input, `seed ${seed}, case ${index}`);
      report.slowestMs = Math.max(report.slowestMs, milliseconds);
      if (verdict.valid) report.accepted++;
      if (outcome instanceof Error)
        report.longestMessage = Math.max(report.longestMessage, outcome.message.length);
      if (index % EVERY_FILE === 0 && input.size < LARGEST_FILE) {
        compare(
          verdict,
          await readFile(join(folder, PATH), input),
          input,
          `seed ${seed}, case ${index}, as a file`,
        );
        report.files++;
      }
      if (index % SAMPLE_EVERY === 0) {
        const mebibytes = process.memoryUsage.rss() / 2 ** 20;
        if (index <= cases / 10) base = mebibytes;
        report.growthMib = Math.max(report.growthMib, mebibytes - base);
        onProgress?.(index);
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  report.seconds = (performance.now() - started) / 1000;
  return report;
}

/** Open files of this process. */
export function openFiles(): number {
  return readdirSync("/proc/self/fd").length;
}

function timed(work: () => Outcome): { outcome: Outcome; milliseconds: number } {
  let milliseconds = Infinity;
  for (let i = 0; ; i++) {
    const started = processorTime();
    const outcome = work();
    milliseconds = Math.min(milliseconds, processorTime() - started);
    if (milliseconds < MOST_MS || i === TRIES) return { outcome, milliseconds };
  }
}

/** Of this process, in milliseconds; the clock on the wall would measure its neighbours. */
function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

function parse({ head, size }: FileCase): Outcome {
  try {
    const length = headerLength(head.subarray(0, 8), size, PATH);
    return parseHeader(head.subarray(8, 8 + length), size, PATH);
  } catch (error) {
    return error as KpopError;
  }
}

async function readFile(path: string, { head, size }: FileCase): Promise<Outcome> {
  const file = openSync(path, "w");
  writeSync(file, head);
  ftruncateSync(file, size);
  closeSync(file);
  return await readHeader(path).catch((error: unknown) => error as KpopError);
}

function compare(verdict: Verdict, outcome: Outcome, { head, size, steps }: FileCase, where: string): void {
  const differ = (what: string): never => {
    const text = head.subarray(8, 600).toString("latin1");
    throw new Error(`${where} (${steps.join("; ") || "as it was"}; ${size} bytes): ${what}\n${text}`);
  };
  if (outcome instanceof Error) {
    if (!(outcome instanceof KpopError) || outcome.code !== "INVALID_SAFETENSORS") {
      differ(`the reader threw ${(outcome as Error).stack}`);
    }
    if (verdict.valid) differ(`a valid file was refused: ${outcome.message}`);
    return;
  }
  if (!verdict.valid) return differ(`a file was accepted in spite of: ${verdict.why}`);
  const found = [...outcome.tensors].map(([name, { dtype, shape, offset, bytes }]) => {
    const start = BigInt(offset) - 8n - head.readBigUInt64LE(0);
    return { name, dtype, shape: shape.map(BigInt), start, end: start + BigInt(bytes) };
  });
  if (flat(found) !== flat(verdict.tensors)) differ("the tensors differ");
  if (flat([...outcome.metadata]) !== flat([...verdict.metadata])) differ("the metadata differs");
}

/** Empty tensors of one place have no order. */
function flat(items: readonly unknown[]): string {
  const text = (value: unknown): string =>
    JSON.stringify(value, (_, part: unknown) => (typeof part === "bigint" ? `${part}n` : part));
  return items.map(text).sort().join("\n");
}
