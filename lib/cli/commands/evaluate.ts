import { join } from "node:path";
import { Option } from "commander";
import type { Command } from "commander";
import { evaluate, EVALUATE_DEFAULTS, GENERATE_DEFAULTS, KpopError, SAMPLER_NAMES } from "../../index";
import type { EvaluateOptions, EvaluationProgress, SamplerName } from "../../index";
import { describeEvaluation } from "../describe-evaluation";
import { count, duration, plural } from "../format";
import { interruptible } from "../interrupt";
import { addKeyOptions, checkKeyFlags, loadKey, type KeyFlags } from "../load-key";
import { addLoadOptions, loadModel, type LoadFlags } from "../load-model";
import { emit, print, say } from "../output";
import { collect, parseInteger, parseNumber } from "../parse-value";
import { readPassphrase } from "../passphrase";
import { Progress } from "../progress";
import { requireOptions } from "../require-options";
import { commandLine, invocation } from "../shell";

const RESULT_FILE = "evaluation.json";

interface Flags extends LoadFlags, KeyFlags {
  erased?: string[];
  preserved?: string[];
  out: string;
  classifier?: string;
  clip?: string;
  prompt?: string;
  imagesPerClass?: number;
  topK?: number[];
  seed?: number;
  steps?: number;
  guidanceScale?: number;
  sampler?: SamplerName;
  batchSize?: number;
  json?: boolean;
}

/** `kpop-native evaluate MODEL --erased C --preserved D --out DIR`: what a model no longer draws, and what it still does. */
export function registerEvaluate(program: Command): void {
  const { prompt, imagesPerClass, seed, topK } = EVALUATE_DEFAULTS;
  const { steps, guidanceScale, batchSize } = GENERATE_DEFAULTS;
  const command = program
    .command("evaluate")
    .usage("<MODEL> --erased <name> --preserved <name> --out <dir> [options]")
    .summary("measure what a model no longer draws, and what it still draws")
    .description(
      "Make pictures of classes and let a classifier name them: ESR-k is the share of pictures of erased classes that " +
        "it does not put among its first k, PSR-k the share of pictures of preserved classes that it does.\n" +
        `Pictures are kept in DIR, so that an interrupted evaluation goes on; the result is DIR/${RESULT_FILE}.`,
    )
    .argument("<MODEL>", 'a diffusers folder, a single-file .safetensors, or "pocket", the built-in model')
    .option("--erased <name>", "class that should be gone; repeatable", collect)
    .option("--preserved <name>", "class that should still be there; repeatable", collect)
    .option("--out <dir>", "folder for the pictures and the result")
    .option(
      "--classifier <path>",
      'a ResNet: a folder, a .safetensors with torchvision\'s keys, or "pocket", the one for models made from pocket',
    )
    .option(
      "--clip <path>",
      'a CLIP model\'s folder, or "pocket": adds CLIP scores; the classifier where none is given',
    );
  addKeyOptions(command, "key of an erasure: measures what it brings back");
  command
    .option("--prompt <text>", `what to ask for, {} being the class (default: "${prompt}")`)
    .option("--images-per-class <n>", `pictures of each class (default: ${imagesPerClass})`, parseInteger)
    .option(
      "--top-k <n>",
      `how many first places count as recognised; repeatable (default: ${topK.join(" and ")})`,
      (text: string, previous: number[] | undefined) => [...(previous ?? []), parseInteger(text)],
    )
    .option("--seed <n>", `picture i of each class starts from seed + i (default: ${seed})`, parseInteger)
    .option("--steps <n>", `denoising steps (default: ${steps})`, parseInteger)
    .option(
      "--guidance-scale <x>",
      `how closely to follow the prompt; 1 is off (default: ${guidanceScale})`,
      parseNumber,
    )
    .addOption(
      new Option(
        "--sampler <name>",
        "default: the checkpoint's own where it is one of these, else ddim",
      ).choices(SAMPLER_NAMES),
    )
    .option("--batch-size <n>", `pictures made together (default: ${batchSize})`, parseInteger);
  addLoadOptions(command);
  command.option("--json", "print what happens as JSON, one object per line").addHelpText("after", HELP);
  command.action(async (model: string, flags: Flags) => {
    requireOptions(command, ["out"]);
    if (flags.erased === undefined && flags.preserved === undefined)
      command.error("error: required option '--erased <name>' or '--preserved <name>' not specified");
    checkKeyFlags(command, flags);
    await evaluateCommand(model, flags);
  });
}

const HELP = () => `
Examples:
  ${invocation()} evaluate no-church --erased church --preserved dog --preserved radio --classifier pocket --out measured
  ${invocation()} evaluate no-church --erased church --key no-church.key.safetensors --classifier pocket --out recovered
  ${invocation()} evaluate ./sd14 --preserved "golf ball" --classifier resnet50.safetensors --prompt "Image of {}" --out sd14-measured
`;

async function evaluateCommand(model: string, flags: Flags): Promise<void> {
  const json = flags.json === true;
  const resultFile = join(flags.out, RESULT_FILE);
  let last = "";
  const passphrase = flags.key === undefined ? undefined : await readPassphrase(flags.passphraseFile);
  const progress = new Progress("picture", json);
  const work = interruptible(`keeping the pictures that are done in ${flags.out}`, async (signal) => {
    const key = await loadKey(flags, passphrase);
    const diffusion = await loadModel(model, flags, signal);
    const evaluation = await evaluate(diffusion, {
      ...evaluateOptions(flags),
      ...(key === undefined ? {} : { key }),
      cacheDirectory: join(flags.out, "images"),
      resultFile,
      signal,
      onProgress({ phase, ...state }) {
        const { done, total, etaSeconds } = state;
        if (phase === "estimate") {
          say(estimate(state));
          if (json) emit({ event: "estimate", ...state });
          return;
        }
        progress.update(done, total, phase === "classes" ? "looked at" : "", etaSeconds);
        const at = `${phase} ${done}`;
        if (json && at !== last) emit({ event: "step", phase, ...state });
        last = at;
      },
    }).finally(() => progress.stop());
    if (json) emit({ event: "done", ...evaluation, pictures: undefined, result: resultFile });
    else print(describeEvaluation(model, evaluation, resultFile));
    key?.dispose();
    diffusion.dispose();
  });
  await work.catch((error: unknown) => {
    if (!(error instanceof KpopError) || error.code !== "ABORTED") throw error;
    const message = `Interrupted. The pictures that are done lie in ${flags.out}; go on with\n  ${commandLine(...process.argv.slice(2))}`;
    throw new KpopError("ABORTED", message, { cause: error });
  });
}

function evaluateOptions(flags: Flags): EvaluateOptions {
  const { erased, preserved, classifier, clip, prompt, imagesPerClass, topK } = flags;
  const { seed, steps, guidanceScale, sampler, batchSize } = flags;
  const given = {
    ...{ erased, preserved, classifier, clip, prompt, imagesPerClass, topK },
    ...{ seed, steps, guidanceScale, sampler, batchSize },
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

function estimate({ done, total, generated, etaSeconds }: Omit<EvaluationProgress, "phase">): string {
  const found = done - generated;
  const there = found > 0 ? `, ${count(found)} of them there already` : "";
  const time = done < total ? `; making the rest takes about ${duration(etaSeconds)}` : "";
  return `${plural(total, "picture")}${there}${time}`;
}
