import { join } from "node:path";
import { Option } from "commander";
import type { Command } from "commander";
import { erase, estimate, inspect, KpopError, safetensors, SAVE_FORMATS } from "../../index";
import type { EraseOptions, Erasure, PrepareReport, SaveFormat, StepReport } from "../../index";
import type { Method } from "../../internal";
import {
  checkPlaceFor,
  LORA_RANK,
  MANIFEST_FILE,
  METHOD_NAMES,
  methodNamed,
  NEIGHBOUR_FLAGS,
  parseRequest,
  RUN_STATE_FILE,
  SAVED_FILES,
  TRAINED_RANK,
  whyNoLora,
  refuseOtherKey,
} from "../../internal";
import { artefactPaths, checkOutputs, reserveOutputs } from "../erase-outputs";
import { describeEstimate } from "../describe-estimate";
import { duration, losses, plural, quoted } from "../format";
import { fromHub } from "../from-hub";
import { interruptible } from "../interrupt";
import { addMethodFlags, addOptionFlags, helpInParts, methodOptions } from "../option-flags";
import { addLoadOptions, loadModel, MODEL_ARGUMENT, type LoadFlags } from "../load-model";
import { neighbours } from "../neighbours";
import { emit, print, say } from "../output";
import { collect, parseInteger } from "../parse-value";
import { PASSPHRASE_VARIABLE, readPassphrase } from "../passphrase";
import { Progress } from "../progress";
import { saveOutputs } from "../save-outputs";
import { requireOptions } from "../require-options";
import { commandLine, invocation } from "../shell";

interface Flags extends LoadFlags {
  concept: string[];
  method: string;
  out: string;
  format: SaveFormat;
  as: "weights" | "lora";
  rank?: number;
  force?: boolean;
  key?: string;
  passphraseFile?: string;
  preserve?: string[];
  seed?: number;
  checkpoint?: string;
  checkpointEvery?: number;
  resume?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

/** `kpop-native erase MODEL --concept C --out DIR`: erases, and saves the model, its manifest and the key. */
export function registerErase(program: Command): void {
  const methods = METHOD_NAMES.map(methodNamed);
  const command = program
    .command("erase")
    .usage("<MODEL> --concept <text> --out <dir> [options]")
    .summary("remove concepts from a checkpoint and save the result")
    .description(
      "Remove concepts from a checkpoint. The result is a checkpoint of its own; the input stays as it is.\n" +
        "KPOP also gives a key: a small file, saved apart, with which the concepts come back.",
    )
    .argument("<MODEL>", MODEL_ARGUMENT)
    .optionsGroup("Options:")
    .option("--concept <text>", "what to erase; repeat it for several", collect)
    .option("--out <dir>", "folder for the result")
    .addOption(new Option("--method <name>", "how").choices(METHOD_NAMES).default(METHOD_NAMES[0]))
    .option("--preserve <prompt>", "prompt whose pictures are to stay as they are; repeatable", collect);
  addOptionFlags(command, NEIGHBOUR_FLAGS);
  command
    .option("--seed <n>", "of every random draw (default: 0)", parseInteger)
    .addOption(
      new Option("--format <name>", "layout of the result").choices(SAVE_FORMATS).default("diffusers"),
    )
    .addOption(
      new Option("--as <what>", "what is trained: weights, or a LoRA that --format lora saves as it is")
        .choices(["weights", "lora"])
        .default("weights"),
    )
    .option(
      "--rank <n>",
      `of --as lora (default: ${TRAINED_RANK}), or of the layers of --format lora (default: ${LORA_RANK})`,
      parseInteger,
    )
    .option("--key <file>", "where the key goes (default: DIR.key.safetensors beside DIR)")
    .option(
      "--passphrase-file <file>",
      `encrypt the key with the passphrase in this file (or in $${PASSPHRASE_VARIABLE})`,
    )
    .option("--force", "replace a saved model in DIR, and an old key of the same concepts")
    .option("--checkpoint <dir>", "save the state of the run here, so that it can be resumed")
    .option("--checkpoint-every <n>", "iterations between two saves (default: 50)", parseInteger)
    .option("--resume", "go on from the state in --checkpoint")
    .option("--dry-run", "say how much memory and time it would take, and write nothing; needs no --out");
  addLoadOptions(command);
  command.option("--json", "print what happens as JSON, one object per line");
  addMethodFlags(command, methods);
  helpInParts(command, methods);
  command.addHelpText("after", HELP);
  command.action(async (model: string, flags: Flags) => {
    requireOptions(command, flags.dryRun === true ? ["concept"] : ["concept", "out"]);
    const own = { ...parseOwn(command, flags), ...(await neighbours(command)) };
    // Before a model is loaded, or downloaded.
    parseRequest({ ...commonOptions(flags), ...own } as EraseOptions);
    await (flags.dryRun === true ? estimateCommand : eraseCommand)(model, flags, own);
  });
}

const HELP = () => `
A rate or weight may change over the run: FROM:TO:SHAPE[:WARMUP], where SHAPE is
constant, linear or cosine, and WARMUP a number of iterations, as in
--learning-rate 1e-4:1e-5:cosine:50. A choice of parameters may be a pattern of
their names, as in --parameters "/attn2.to_[kv]/".

How much goes is decided by rate times iterations. On the built-in model the
first example below took 45 seconds on one core: the church is gone from
8 of 8 pictures, and the key brings it back in all.

Examples:
  ${invocation()} erase pocket --concept church --iterations 200 --out no-church
  ${invocation()} erase ./sd14 --concept "Van Gogh" --out no-van-gogh --checkpoint state
  ${invocation()} generate no-church --prompt church --key no-church.key.safetensors --out church.png
`;

function parseOwn(command: Command, flags: Flags): Record<string, unknown> {
  const methods = METHOD_NAMES.map(methodNamed);
  if (flags.rank !== undefined && flags.format !== "lora" && flags.as !== "lora")
    command.error("error: --rank needs --format lora or --as lora");
  if (flags.rank !== undefined && flags.rank < 1)
    command.error(`error: Expected --rank to be at least 1 but received ${flags.rank}`);
  if (flags.checkpoint === undefined) {
    const needy =
      flags.resume === true ? "--resume" : flags.checkpointEvery === undefined ? null : "--checkpoint-every";
    if (needy !== null) command.error(`error: ${needy} needs --checkpoint <dir>`);
  }
  const method = methodNamed(flags.method);
  const about =
    flags.key !== undefined ? "--key" : flags.passphraseFile !== undefined ? "--passphrase-file" : null;
  if (about !== null && !givesKey(method)) {
    const givers = methods.filter(givesKey).map(({ name }) => name);
    command.error(
      `error: ${about} is for a method that gives a key (${givers.join(", ")}), not ${method.name}`,
    );
  }
  if (method.kind === "inference" && flags.format !== "diffusers")
    command.error(
      `error: ${method.name} changes no weights: what it does is saved by --format diffusers alone`,
    );
  const own = methodOptions(command, method, methods);
  const why = flags.as === "lora" ? whyNoLora(method, own) : undefined;
  if (why !== undefined)
    command.error(`error: Expected --as to be "weights" with "${method.name}", which ${why}`);
  return own;
}

/** What the run would need; places of a result that are named are looked at, and left as they are. */
async function estimateCommand(model: string, flags: Flags, own: Record<string, unknown>): Promise<void> {
  if ((flags.out as string | undefined) !== undefined) await checkPlaces(model, flags);
  const found = await interruptible("looking", async (signal) => {
    const source = await fromHub(model, flags, signal);
    const base = await loadModel(source, flags, signal, model);
    checkPlaceFor(base.interventions, flags.format);
    say(`Looking at what erasing ${quoted(flags.concept)} with ${flags.method} takes on ${base.device}`);
    const estimated = await estimate(base, { ...commonOptions(flags), ...own, signal } as EraseOptions);
    base.dispose();
    return estimated;
  });
  if (flags.json === true) emit({ event: "estimate", ...found });
  else print(describeEstimate(found));
}

/** Where the result goes, checked. */
async function checkPlaces(model: string, flags: Flags) {
  const { artefacts: leaves } = methodNamed(flags.method);
  const artefacts = artefactPaths(flags.out, leaves?.(flags.concept) ?? []);
  if (flags.key !== undefined) artefacts.set("key", flags.key);
  await checkOutputs(model, { ...flags, artefacts });
  const passphrase = await readPassphrase(flags.passphraseFile);
  for (const path of artefacts.values()) await refuseOtherKey(path, flags.concept, passphrase);
  return { artefacts, passphrase };
}

async function eraseCommand(model: string, flags: Flags, own: Record<string, unknown>): Promise<void> {
  const json = flags.json === true;
  const { artefacts, passphrase } = await checkPlaces(model, flags);
  const { checkpoint } = flags;
  const doing = checkpoint === undefined ? "finishing the iteration" : `saving the state to ${checkpoint}`;
  let last: StepReport | undefined;
  let preparing: Progress | undefined;
  let prepared: PrepareReport | undefined;
  const progress = new Progress("iteration", json);
  const source = await interruptible("keeping what has arrived", (signal) => fromHub(model, flags, signal));
  const place = await reserveOutputs(source, { ...flags, artefacts });
  try {
    await interruptible(doing, async (signal) => {
      const base = await loadModel(source, flags, signal, model);
      checkPlaceFor(base.interventions, flags.format);
      const resumed = await savedIteration(flags);
      say(`Erasing ${quoted(flags.concept)} with ${flags.method} on ${base.device} in ${base.dtype}`);
      if (resumed > 0) say(`Going on after iteration ${resumed}`);
      if (json) emit({ event: "start", method: flags.method, concepts: flags.concept, resumed });
      const erasure = await erase(base, {
        ...commonOptions(flags),
        ...own,
        signal,
        onPrepare(report) {
          if (prepared?.what !== report.what) {
            preparing?.stop();
            preparing = new Progress(report.what, json);
          }
          prepared = report;
          const done = report.what === "word" ? "looked at for neighbours" : "made";
          preparing!.update(report.done, report.total, done, report.etaSeconds);
          if (json) emit({ event: "prepare", ...report });
        },
        onStep(report) {
          preparing?.stop();
          last = report;
          if (report.iteration <= resumed) return;
          if (json) emit({ event: "step", ...report });
          progress.update(report.iteration, report.iterations, losses(report.losses), report.etaSeconds);
        },
      } as EraseOptions);
      progress.stop();
      say(`Saving ${flags.out}`);
      const format = await saveOutputs(model, erasure, { ...flags, artefacts }, passphrase, signal);
      await sayWhere(model, { ...flags, format }, erasure, artefacts);
      erasure.dispose();
      base.dispose();
    });
  } catch (error) {
    throw interrupted(error, flags, last, prepared);
  } finally {
    preparing?.stop();
    progress.stop();
    await place.release();
  }
}

/** What a resumed run has behind it; its reports are given again, and were shown before. */
async function savedIteration({ checkpoint, resume }: Flags): Promise<number> {
  if (checkpoint === undefined || resume !== true) return 0;
  const state = await inspect(join(checkpoint, RUN_STATE_FILE)).catch((error: unknown) => {
    if (error instanceof KpopError && error.code === "NOT_FOUND") return null;
    throw error;
  });
  return state?.kind === "run-state" ? state.iteration : 0;
}

/** Whether a method leaves a key beside the model. */
function givesKey({ artefacts }: Method): boolean {
  return artefacts?.([]).includes("key") === true;
}

function commonOptions(flags: Flags) {
  const { concept, method, preserve, seed, checkpoint, checkpointEvery, resume } = flags;
  return {
    concepts: concept,
    method,
    ...(preserve === undefined ? {} : { preserve }),
    ...(seed === undefined ? {} : { seed }),
    ...(flags.as === "weights"
      ? {}
      : { as: flags.as, ...(flags.rank === undefined ? {} : { rank: flags.rank }) }),
    ...(checkpoint === undefined
      ? {}
      : {
          checkpoint: {
            directory: checkpoint,
            ...(checkpointEvery === undefined ? {} : { every: checkpointEvery }),
          },
        }),
    ...(resume === undefined ? {} : { resume }),
  };
}

async function sayWhere(
  model: string,
  flags: Flags,
  erasure: Erasure,
  artefacts: ReadonlyMap<string, string>,
): Promise<void> {
  const key = artefacts.get("key");
  const { out, format, concept, json } = flags;
  const manifest = join(out, MANIFEST_FILE);
  const weights = format === "diffusers" ? out : join(out, SAVED_FILES[format]);
  const { seconds, iterations, unetEvaluations } = erasure.manifest;
  if (json === true) {
    const spending = { iterations, seconds, unetEvaluations };
    const run = {
      method: erasure.method,
      concepts: concept,
      neighbours: erasure.manifest.neighbours,
      ...spending,
    };
    emit({ event: "done", model: weights, format, ...Object.fromEntries(artefacts), manifest, ...run });
    return;
  }
  const spent = iterations === 0 ? "" : `: ${plural(iterations, "iteration")} in ${duration(seconds)}`;
  print(`Erased ${quoted(concept)} from ${model}${spent}`);
  const width = Math.max(...["manifest", ...artefacts.keys()].map((name) => name.length));
  const where = (name: string, path: string): void => print(`  ${name.padEnd(width)}  ${path}`);
  where("model", weights);
  where("manifest", manifest);
  for (const { name, secret } of erasure.artefacts)
    where(
      name,
      `${artefacts.get(name)}${secret === true ? `  (keep it apart: it brings ${quoted(concept)} back)` : ""}`,
    );
  const prompt = ["--prompt", concept[0]!];
  if (format === "delta") {
    print(`The delta holds only what changed; it applies onto ${model}:`);
    return print(`  ${commandLine("generate", model, "--delta", out, ...prompt, "--out", "erased.png")}`);
  }
  if (format === "lora") {
    await using file = await safetensors.open(weights);
    const kept = (100 * Number(file.metadata["kpop.kept"])).toFixed(1);
    const leftOut = (JSON.parse(file.metadata["kpop.left_out"]!) as string[]).length;
    print(`The LoRA holds ${kept} % of the change (as squares); load it onto ${model} at strength 1`);
    if (leftOut > 0)
      print(`A LoRA has no place for biases and norms: ${plural(leftOut, "changed tensor")} left out`);
    return;
  }
  print(key === undefined ? "See what is left:" : "See what is left, and what the key brings back:");
  print(`  ${commandLine("generate", weights, ...prompt, "--out", "erased.png")}`);
  if (key !== undefined)
    print(`  ${commandLine("generate", weights, ...prompt, "--key", key, "--out", "recovered.png")}`);
}

/** What an interrupted run leaves, and how to go on; other errors as they are. */
function interrupted(
  error: unknown,
  { checkpoint }: Flags,
  last: StepReport | undefined,
  prepared: PrepareReport | undefined,
): unknown {
  if (!(error instanceof KpopError) || error.code !== "ABORTED") return error;
  const at =
    last === undefined
      ? "before the first iteration"
      : `after ${last.iteration} of ${last.iterations} iterations`;
  const args = process.argv.slice(2);
  const again = commandLine(...args, ...(args.includes("--resume") ? [] : ["--resume"]));
  const pictures = last === undefined && prepared?.what === "picture" ? prepared.done : 0;
  const next =
    pictures > 0
      ? `${plural(pictures, "picture")} of ${prepared!.total} are kept; the same command goes on from there`
      : checkpoint === undefined
        ? "Nothing was saved; with --checkpoint <dir> a run can be resumed"
        : last === undefined
          ? "There was nothing to save"
          : `The state is saved in ${checkpoint}; go on with\n  ${again}`;
  return new KpopError("ABORTED", `Interrupted ${at}. ${next}`, { cause: error });
}
