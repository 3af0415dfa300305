/**
 * What there is to measure on a GPU, in the order of its worth; bench/gpu.sh builds what it needs and starts it.
 *
 *     node dist/gpu.js --out DIR [--size full|pocket] [--device cuda|cpu] [--only parity,erasure,training,unet,methods]
 *                      [--dtypes bfloat16,float32,float16]
 *
 * results.json and gpu.md are written anew after each trial, so an end in between keeps what was measured. A trial that
 * fails is noted with its reason, and the others go on.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { KpopError, type ComputeDtype, type Device } from "../../lib/index";
import { listOf, oneOf } from "../flags";
import { PYTHON } from "../peer";
import { runProgram } from "../program";
import { ROOT } from "../root";
import { runTrials, type Command, type Trial } from "../runner";
import { STEPS, type Assignment, type Size, type StepName, type Timing, type UNetTiming } from "./assignment";
import { watched } from "./device-memory";
import { rateErasure } from "./erasure";
import { writeFullSize } from "./full-size";
import { examineMachine } from "./machine";
import { methodBehind, TIMED, timeMethod } from "./methods";
import { costOf } from "./model-cost";
import { parity } from "./parity";
import type { MethodResult, Results, UNetResult } from "./results";
import { summary } from "./summary";
import { trainingSpeed } from "./training";
import { MEASURED, timeUNet } from "./unet";

const PEER = join(ROOT, "bench", "gpu", "peers", "methods.py");
/** The GPU's libraries then keep float32 as it is, whatever a program asks for. */
const NO_TF32 = { NVIDIA_TF32_OVERRIDE: "0" };

interface Settings {
  out: string;
  size: Size;
  device: Device;
  only: readonly StepName[];
  dtypes: readonly ComputeDtype[];
}

/** @throws INVALID_ARGUMENT naming the flag */
function parseFlags(args: readonly string[]): Settings {
  const { values } = parse(args);
  const device = oneOf("--device", ["cuda", "cpu"])(values.device);
  const date = new Date().toISOString().slice(0, 10);
  return {
    out: values.out ?? join("bench", "results", `${date}-${device}`),
    size: oneOf("--size", ["full", "pocket"])(values.size ?? (device === "cuda" ? "full" : "pocket")),
    device,
    only: listOf("--only", STEPS)(values.only),
    dtypes: listOf("--dtypes", DTYPES)(values.dtypes),
  };
}

/** Without commander, which a bare machine has not. */
function parse(args: readonly string[]) {
  const text = { type: "string" } as const;
  const options = { out: text, size: text, device: { ...text, default: "cuda" }, only: { ...text, default: STEPS.join() }, dtypes: { ...text, default: DTYPES.join() } }; // prettier-ignore
  try {
    return parseArgs({ args: [...args], options });
  } catch (error) {
    throw new KpopError("INVALID_ARGUMENT", (error as Error).message);
  }
}

/** On a CPU all that is asked is whether it runs. */
const iterationsOn = (device: Device): number => (device === "cpu" ? 10 : 40);
/** What is worth most comes first. */
const DTYPES = ["bfloat16", "float32", "float16"] as const;
/** What steps run in: a CPU is slow in half dtypes, and float16 is timed as bfloat16 is. */
const dtypesOf = (step: StepName, device: Device): readonly ComputeDtype[] =>
  step === "parity"
    ? DTYPES
    : device === "cpu"
      ? ["float32"]
      : step === "erasure"
        ? DTYPES
        : DTYPES.slice(0, 2);

type Own = (assignment: Assignment) => Command;

/** Every trial; each leaves what it found in the results. @param folder where a checkpoint of full size goes */
function trialsOf({ size, device, only, dtypes }: Settings, results: Results, own: Own, folder: string): Trial<void>[] {
  const dtypesFor = (step: StepName) => dtypesOf(step, device).filter((dtype) => dtypes.includes(dtype));
  const steps: Record<StepName, () => Trial<void>[]> = {
    parity: () =>
      dtypesFor("parity").map((dtype) => ({
        name: `parity, ${dtype}`,
        run: async (start) =>
          void results.parity.push({ dtype, comparisons: await start(own({ step: "parity", device, dtype }), NO_TF32) }),
      })),
    erasure: () =>
      dtypesFor("erasure").map((dtype) => ({
        name: `erasure, ${dtype}`,
        run: async (start) => void results.erasures.push(await start(own({ step: "erasure", device, dtype }))),
      })),
    training: () => [
      {
        name: "training",
        run: async (start) => void (results.training = await start(own({ step: "training", device }))),
      },
    ],
    unet: () => dtypesFor("unet").flatMap(unetTrials),
    methods: () => dtypesFor("methods").flatMap((dtype) => Object.keys(TIMED).flatMap((name) => methodTrials(name, dtype))),
  };
  const [model, peersModel] = size === "full" ? [folder, folder] : ["pocket", join(ROOT, "models", "pocket")];
  const peerRuns = results.machine.peer !== null;
  const ofPeer = (trial: object): Command => [PYTHON, PEER, JSON.stringify({ ...trial, model: peersModel })];
  const unetTrials = (dtype: ComputeDtype): Trial<void>[] => {
    const row: UNetResult = { dtype, ours: null, peer: null };
    const assignment = { step: "unet", device, dtype, model } as const;
    const ours: Trial<void> = {
      name: `UNet, ${dtype}`,
      async run(start) {
        results.unet.push(row);
        row.ours = await start<UNetTiming>(own(assignment));
      },
    };
    const peer: Trial<void> = {
      name: `UNet, ${dtype}, peer`,
      run: async (start) => void (row.peer = await start(ofPeer({ ...assignment, method: "unet", ...MEASURED }))),
    };
    return peerRuns ? [ours, peer] : [ours];
  };
  const methodTrials = (name: string, dtype: ComputeDtype): Trial<void>[] => {
    const row: MethodResult = { method: name, dtype, ours: null, peer: null, cost: null };
    const assignment = { step: "methods", method: name, device, dtype, iterations: iterationsOn(device), model } as const;
    const ours: Trial<void> = {
      name: `${name}, ${dtype}`,
      async run(start) {
        results.methods.push(row);
        if (TIMED[name]!.peer) row.cost = await costOf(methodBehind(name), peersModel, dtype);
        row.ours = await watched(() => start<Timing>(own(assignment)));
      },
    };
    const peer: Trial<void> = {
      name: `${name}, ${dtype}, peer`,
      async run(start) {
        row.peer = await watched(() => start<Timing>(ofPeer({ ...assignment, method: methodBehind(name) })));
      },
    };
    return peerRuns && TIMED[name]!.peer ? [ours, peer] : [ours];
  };
  const checkpoint: Trial<void> = {
    name: "checkpoint",
    run: async (start) => void (await start(own({ step: "checkpoint", folder }))),
  };
  const needed = size === "full" && (only.includes("unet") || only.includes("methods"));
  return [
    ...(needed ? [checkpoint] : []),
    ...STEPS.filter((step) => only.includes(step)).flatMap((step) => steps[step]()),
  ];
} // prettier-ignore

async function main(args: readonly string[], own: Own, signal: AbortSignal): Promise<number> {
  const settings = parseFlags(args);
  const { out, size, device, only } = settings;
  mkdirSync(out, { recursive: true });
  const started = performance.now();
  const withPeer = only.includes("unet") || only.includes("methods");
  const results: Results = {
    date: new Date().toISOString(),
    seconds: 0,
    size,
    device,
    machine: await examineMachine(withPeer),
    parity: [],
    erasures: [],
    training: null,
    unet: [],
    methods: [],
    failures: [],
  };
  const write = (): void => {
    results.seconds = (performance.now() - started) / 1000;
    writeFileSync(join(out, "results.json"), `${JSON.stringify(results, null, 2)}\n`);
    writeFileSync(join(out, "gpu.md"), summary(results));
  };
  const folder = join(tmpdir(), `kpop-gpu-${process.pid}`);
  const say = (sentence: string): void => console.error(sentence);
  const trials = trialsOf(settings, results, own, folder);
  try {
    await runTrials(trials, {
      jobs: 1,
      signal,
      say,
      each(failures) {
        results.failures = [...failures];
        write();
      },
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const over = results.parity
    .flatMap(({ comparisons }) => comparisons)
    .filter(({ error, limit }) => !(error <= limit));
  const good = over.length + results.failures.length === 0;
  if (withPeer && results.machine.peer === null)
    results.failures.push({ name: "the peer", message: results.machine.peerMissing ?? "not asked for" });
  write();
  if (signal.aborted) return 130;
  console.log(summary(results));
  return good ? 0 : 1;
}

runProgram<Assignment>(__filename, {
  main,
  trial: async (assignment) => {
    switch (assignment.step) {
      case "parity":
        return parity(assignment.device, assignment.dtype);
      case "erasure":
        return rateErasure(assignment.device, assignment.dtype);
      case "training":
        return trainingSpeed(assignment.device);
      case "checkpoint":
        await writeFullSize(assignment.folder);
        return null;
      case "unet":
        return timeUNet(assignment);
      case "methods":
        return timeMethod(assignment);
    }
  },
});
