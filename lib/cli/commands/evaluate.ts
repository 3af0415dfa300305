import { join } from "node:path";
import type { Command } from "commander";
import { evaluate, KpopError } from "../../index";
import type { ComparedModel, Comparison, EvaluateOptions, EvaluationProgress, EvaluationShard, Shard } from "../../index"; // prettier-ignore
import { EVALUATE_OPTIONS } from "../../internal";
import { describeComparison, describeEvaluation } from "../describe-evaluation";
import { flagsFromHub } from "../from-hub";
import { count, duration, plural } from "../format";
import { interruptible } from "../interrupt";
import { addKeyOptions, checkKeyFlags, loadKey, type KeyFlags } from "../load-key";
import { addLoadOptions, loadModel, MODEL_ARGUMENT, type LoadFlags } from "../load-model";
import { emit, print, say } from "../output";
import { addOptionFlags, optionValues } from "../option-flags";
import { readPassphrase } from "../passphrase";
import { Progress } from "../progress";
import { requireOptions } from "../require-options";
import { afterShards, shardOf } from "../shard";
import { commandLine, invocation, ownCommand } from "../shell";

/** Options that have a flag of their own name. */
const FLAGGED = Object.keys(EVALUATE_OPTIONS).filter((name) => !/File|Directory$/.test(name));
const RESULT_FILE = "evaluation.json";
/** What becomes of the pictures in each phase, beside their number. */
const DOING = { reference: "of the reference looked at", images: "", classes: "looked at" };

type Given = EvaluateOptions & { shard?: Shard };

interface Flags extends LoadFlags, KeyFlags {
  erased?: string[];
  preserved?: string[];
  out: string;
  classifier?: string;
  prompts?: string[];
  crossClassifier?: string;
  clip?: string;
  json?: boolean;
}

/** `kpop-native evaluate MODEL --erased C --preserved D --out DIR`: what a model no longer draws, and what it still does. */
export function registerEvaluate(program: Command): void {
  const command = program
    .command("evaluate")
    .usage("<MODEL...> --erased <name> --preserved <name> | --prompts <file> --out <dir> [options]")
    .summary("measure what a model no longer draws, and what it still draws")
    .description(
      "Make pictures of classes and let a classifier name them: ESR-k is the share of pictures of erased classes that " +
        "it does not put among its first k, PSR-k the share of pictures of preserved classes that it does.\n" +
        "With --prompts the pictures are those that a file asks for, in the layouts of I2P, of ESD's lists (COCO, Imagenette), " +
        "of Six-CD and of HUB; metrics other than a classifier's are measured where their options are given.\n" +
        "Several models get the same prompts and seeds; each is compared with the first, picture by picture.\n" +
        `Pictures are kept in DIR, so that an interrupted evaluation goes on; the result is DIR/${RESULT_FILE}.`,
    )
    .argument("<MODEL...>", MODEL_ARGUMENT)
    .option("--out <dir>", "folder for the pictures and the result")
    .option(
      "--classifier <path>",
      'a ResNet: a folder, a .safetensors with torchvision\'s keys, "hf:user/name", or "pocket", the one for models made from pocket',
    )
    .option(
      "--cross-classifier <path>",
      "what names classes of another domain; as --classifier, and that one by default",
    )
    .option(
      "--clip <path>",
      'a CLIP model\'s folder, "hf:user/name", or "pocket": adds CLIP scores; the classifier where none is given',
    );
  addKeyOptions(
    command,
    "key of an erasure: measures what it brings back; of several models the last, once more, with it",
  );
  addOptionFlags(command, EVALUATE_OPTIONS, FLAGGED);
  addLoadOptions(command);
  command.option("--json", "print what happens as JSON, one object per line").addHelpText("after", HELP);
  command.action(async (models: string[], flags: Flags) => {
    requireOptions(command, ["out"]);
    if (flags.delta !== undefined && models.length > 1) command.error("error: --delta needs one MODEL");
    if (flags.erased === undefined && flags.preserved === undefined && flags.prompts === undefined)
      command.error(
        "error: required option '--erased <name>' or '--preserved <name>', or '--prompts <file>', not specified",
      );
    checkKeyFlags(command, flags);
    await evaluateCommand(models, flags, optionValues(command, EVALUATE_OPTIONS, FLAGGED));
  });
}

const HELP = () => `
Examples:
  ${invocation()} evaluate no-church --erased church --preserved dog --preserved radio --classifier pocket --out measured
  ${invocation()} evaluate no-church --erased church --key no-church.key.safetensors --classifier pocket --out recovered
  ${invocation()} evaluate ./sd14 --preserved "golf ball" --classifier resnet50.safetensors --prompt "Image of {}" --out sd14-measured
  ${invocation()} evaluate ./no-church --prompts imagenette.csv --erased church --classifier resnet50.safetensors --out measured
  ${invocation()} evaluate ./sd14 ./without --prompts i2p.csv --nudity-detector 320n.onnx --out compared
`;

async function evaluateCommand(names: readonly string[], flags: Flags, typed: Given): Promise<void> {
  const json = flags.json === true;
  const { shard: named, ...given } = typed;
  const shard = shardOf(named);
  const resultFile = join(flags.out, RESULT_FILE);
  let last = "";
  const passphrase = flags.key === undefined ? undefined : await readPassphrase(flags.passphraseFile);
  const progress = new Progress("picture", json);
  const tellShard = (done: EvaluationShard): void => {
    if (json) emit({ event: "done", ...done });
    else print(afterShards(`${plural(done.images, "picture")} of this shard lie in ${flags.out}`));
  };
  const work = interruptible(`keeping the pictures that are done in ${flags.out}`, async (signal) => {
    const key = await loadKey(flags, passphrase);
    const judging = judges(await flagsFromHub(flags, ["classifier", "clip", "crossClassifier"], signal));
    const options: EvaluateOptions = {
      ...given,
      ...judging,
      cacheDirectory: join(flags.out, "images"),
      resultFile,
      command: ownCommand(),
      signal,
      onProgress({ phase, ...state }) {
        const { done, total, etaSeconds, model } = state;
        if (phase === "estimate") {
          say(estimate(state));
          if (json) emit({ event: "estimate", ...state });
          return;
        }
        progress.update(done, total, DOING[phase], etaSeconds);
        const at = [phase, done, model].join(" ");
        if (json && at !== last) emit({ event: "step", phase, ...state });
        last = at;
      },
    };
    const load = (name: string) => () => loadModel(name, flags, signal);
    const models: ComparedModel[] = names.map((name) => ({ name, model: load(name) }));
    try {
      if (models.length > 1) {
        const again = { name: `${names.at(-1)!} with the key`, model: load(names.at(-1)!) };
        if (key !== undefined) models.push({ ...again, key });
        const comparison = await evaluate(models, { ...options, shard });
        if ("shard" in comparison) tellShard(comparison);
        else if (json) emit({ event: "done", ...withoutPictures(comparison), result: resultFile });
        else print(describeComparison(comparison, resultFile));
        return;
      }
      const diffusion = await load(names[0]!)();
      const result = await evaluate(diffusion, { ...options, shard, ...(key === undefined ? {} : { key }) });
      if ("shard" in result) tellShard(result);
      else if (json) emit({ event: "done", ...result, pictures: undefined, result: resultFile });
      else print(describeEvaluation(names[0]!, result, resultFile));
      diffusion.dispose();
    } finally {
      progress.stop();
      key?.dispose();
    }
  });
  await work.catch((error: unknown) => {
    if (!(error instanceof KpopError) || error.code !== "ABORTED") throw error;
    const message = `Interrupted. The pictures that are done lie in ${flags.out}; go on with\n  ${commandLine(...process.argv.slice(2))}`;
    throw new KpopError("ABORTED", message, { cause: error });
  });
}

function withoutPictures({ models, ...rest }: Comparison): object {
  return { ...rest, models: models.map((model) => ({ ...model, pictures: undefined })) };
}

function judges({ classifier, crossClassifier, clip }: Flags): EvaluateOptions {
  return {
    ...(crossClassifier === undefined ? {} : { crossClassifier }),
    ...(classifier === undefined ? {} : { classifier }),
    ...(clip === undefined ? {} : { clip }),
  };
}

function estimate({ done, total, generated, etaSeconds }: Omit<EvaluationProgress, "phase">): string {
  const found = done - generated;
  const there = found > 0 ? `, ${count(found)} of them there already` : "";
  const time = done < total ? `; making the rest takes about ${duration(etaSeconds)}` : "";
  return `${plural(total, "picture")}${there}${time}`;
}
