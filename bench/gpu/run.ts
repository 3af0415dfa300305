/**
 * What there is to measure on a GPU, in the order of its worth; bench/gpu.sh builds what it needs and starts it.
 *
 *     node dist/gpu.js --out DIR [--size full|pocket] [--device cuda|cpu] [--only parity,training,methods]
 *
 * Each trial is a process of its own; results.json and gpu.md are written anew after each, so an end in between keeps
 * what was measured. A trial that fails is noted with its reason, and the others go on.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { KpopError, type ComputeDtype, type Device } from "../../lib/index";
import {
  METHODS,
  STEPS,
  type Assignment,
  type Comparison,
  type Size,
  type StepName,
  type Timing,
} from "./assignment";
import { writeFullSize } from "./full-size";
import { examineMachine } from "./machine";
import { timeMethod } from "./methods";
import { costOf } from "./model-cost";
import { parity } from "./parity";
import type { Results } from "./results";
import { summary } from "./summary";
import { trainingSpeed, type TrainingSpeed } from "./training";
import { runTrial, type Ran } from "./trial-process";
import { ROOT } from "../root";

const PEER = join(ROOT, "bench", "gpu", "peers", "methods.py");
const PEER_STEPS: readonly StepName[] = ["methods"];
/** The GPU's libraries then keep float32 as it is, whatever a program asks for. */
const NO_TF32 = { NVIDIA_TF32_OVERRIDE: "0" };

interface Settings {
  out: string;
  size: Size;
  device: Device;
  python: string;
  only: readonly StepName[];
}

function parseFlags(args: readonly string[]): Settings {
  const { values } = parseArgs({
    args: [...args],
    options: {
      out: { type: "string" },
      size: { type: "string" },
      device: { type: "string", default: "cuda" },
      only: { type: "string", default: STEPS.join() },
    },
  });
  const among = <T extends string>(flag: string, value: string, known: readonly T[]): T => {
    const found = known.find((name) => name === value);
    if (found !== undefined) return found;
    throw new KpopError(
      "INVALID_ARGUMENT",
      `Expected ${flag} to be among ${known.join(", ")} but received "${value}"`,
    );
  };
  const device = among("--device", values.device, ["cuda", "cpu"] as const);
  const date = new Date().toISOString().slice(0, 10);
  return {
    out: values.out ?? join("bench", "results", `${date}-${device}`),
    size: among("--size", values.size ?? (device === "cuda" ? "full" : "pocket"), [
      "full",
      "pocket",
    ] as const),
    device,
    python: process.env["KPOP_PYTHON"] ?? "python3",
    only: values.only.split(",").map((name) => among("--only", name.trim(), STEPS)),
  };
}

/** On a CPU all that is asked is whether it runs. */
const iterationsOn = (device: Device): number => (device === "cpu" ? 10 : 40);
const dtypesOn = (device: Device): ComputeDtype[] =>
  device === "cpu" ? ["float32"] : ["bfloat16", "float32"];

/** @returns how many trials failed, or gave a figure over its limit */
async function measure(settings: Settings): Promise<number> {
  const { out, size, device, python, only } = settings;
  mkdirSync(out, { recursive: true });
  const started = performance.now();
  const results: Results = {
    date: new Date().toISOString(),
    seconds: 0,
    size,
    device,
    machine: await examineMachine(PEER_STEPS.some((step) => only.includes(step)) ? python : null),
    parity: [],
    training: null,
    methods: [],
    failures: [],
  };
  const write = (): void => {
    results.seconds = (performance.now() - started) / 1000;
    writeFileSync(join(out, "results.json"), `${JSON.stringify(results, null, 2)}\n`);
    writeFileSync(join(out, "gpu.md"), summary(results));
  };
  const attempt = async <T>(what: string, run: () => Promise<Ran<T>>): Promise<Ran<T> | null> => {
    const begun = performance.now();
    try {
      return await run();
    } catch (error) {
      results.failures.push({ what, reason: (error as Error).message });
      console.error(`${what}: ${(error as Error).message}`);
      return null;
    } finally {
      console.error(`${what}: ${((performance.now() - begun) / 1000).toFixed(1)} s`);
    }
  };
  const ours = <T>(assignment: Assignment, env: NodeJS.ProcessEnv = {}): Promise<Ran<T>> =>
    runTrial<T>(process.execPath, [__filename, "--trial", JSON.stringify(assignment)], env);

  if (only.includes("parity")) {
    for (const dtype of ["float32", "bfloat16", "float16"] as const) {
      const ran = await attempt(`parity, ${dtype}`, () =>
        ours<Comparison[]>({ step: "parity", device, dtype }, NO_TF32),
      );
      if (ran !== null) results.parity.push({ dtype, comparisons: ran.result });
      write();
    }
  }
  if (only.includes("training")) {
    const ran = await attempt("training", () => ours<TrainingSpeed>({ step: "training", device }));
    results.training = ran?.result ?? null;
    write();
  }
  if (only.includes("methods")) {
    const folder = join(tmpdir(), `kpop-gpu-${process.pid}`);
    try {
      if (size === "full") await attempt("checkpoint", () => ours<null>({ step: "checkpoint", folder }));
      for (const dtype of dtypesOn(device)) {
        for (const method of METHODS) {
          const model = size === "full" ? folder : "pocket";
          const assignment = {
            step: "methods",
            method,
            model,
            device,
            dtype,
            iterations: iterationsOn(device),
          } as const;
          const own = await attempt(`${method}, ${dtype}`, () => ours<Timing>(assignment));
          const ofPeer = { ...assignment, model: size === "full" ? folder : join(ROOT, "models", "pocket") };
          const peer =
            results.machine.peer === null
              ? null
              : await attempt(`${method}, ${dtype}, peer`, () =>
                  runTrial<Timing>(python, [PEER, JSON.stringify(ofPeer)]),
                );
          results.methods.push({
            method,
            dtype,
            ours: own && { ...own.result, deviceBytes: own.deviceBytes },
            peer: peer && { ...peer.result, deviceBytes: peer.deviceBytes },
            cost: await costOf(method, ofPeer.model, dtype),
          });
          write();
        }
      }
      if (results.machine.peer === null)
        results.failures.push({ what: "the peer", reason: results.machine.peerMissing ?? "not asked for" });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
  write();
  console.log(summary(results));
  const over = results.parity
    .flatMap(({ comparisons }) => comparisons)
    .filter(({ error, limit }) => !(error <= limit));
  return over.length + results.failures.filter(({ what }) => what !== "the peer").length;
}

/** What a trial's process does; its result is the last line on stdout. */
async function trial(assignment: Assignment): Promise<unknown> {
  switch (assignment.step) {
    case "parity":
      return parity(assignment.device, assignment.dtype);
    case "training":
      return trainingSpeed(assignment.device);
    case "checkpoint":
      await writeFullSize(assignment.folder);
      return null;
    case "methods":
      return timeMethod(assignment);
  }
}

async function main(args: readonly string[]): Promise<number> {
  if (args[0] === "--trial") {
    const result = await trial(JSON.parse(args[1] ?? "") as Assignment);
    process.stdout.write(`${JSON.stringify(result)}\n`);
    return 0;
  }
  return (await measure(parseFlags(args))) === 0 ? 0 : 1;
}

main(process.argv.slice(2)).then(
  (code) => (process.exitCode = code),
  (error: unknown) => {
    // The message comes last, where the caller looks for it.
    if (!(error instanceof KpopError)) console.error(error instanceof Error ? error.stack : error);
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = error instanceof KpopError && error.code === "INVALID_ARGUMENT" ? 2 : 1;
  },
);
