import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { Option } from "commander";
import type { Command } from "commander";
import { attack, KpopError } from "../../index";
import type { Shard } from "../../index";
import { ATTACK_NAMES, ATTACK_OPTIONS, attackNamed } from "../../internal";
import { describeAttack } from "../describe-attack";
import { losses, plural } from "../format";
import { interruptible } from "../interrupt";
import { addLoadOptions, loadModel, type LoadFlags } from "../load-model";
import { addMethodFlags, addOptionFlags, helpInParts, methodOptions, optionValues } from "../option-flags";
import { emit, print } from "../output";
import { collect, parseInteger } from "../parse-value";
import { Progress } from "../progress";
import { requireOptions } from "../require-options";
import { afterShards, shardOf } from "../shard";
import { commandLine, invocation } from "../shell";

interface Flags extends LoadFlags {
  concept: string;
  method: string;
  out: string;
  classifier?: string;
  original?: string;
  image?: string[];
  seed?: number;
  resume?: boolean;
  json?: boolean;
}

/** `kpop-native attack MODEL --concept C --original M --out DIR`: how far an erased concept comes back. */
export function registerAttack(program: Command): void {
  const attacks = ATTACK_NAMES.map(attackNamed);
  const command = program
    .command("attack")
    .usage("<MODEL> --concept <name> --original <model> --out <dir> [options]")
    .summary("look for inputs that bring an erased concept back, and measure how often they do")
    .description(
      "Attack an erased model. A classifier looks at pictures of the concept's plain name and of every input found: " +
        "the attack success rate is the share that it takes for the concept.\n" +
        "The state of the search is kept in DIR, so that an interrupted one goes on with --resume.",
    )
    .argument("<MODEL>", "the erased model: a diffusers folder, or a single-file .safetensors")
    .optionsGroup("Options:")
    .option("--concept <name>", "what was erased; a class of the classifier")
    .option("--out <dir>", "folder for the inputs found, their pictures, and the result")
    .addOption(new Option("--method <name>", "how").choices(ATTACK_NAMES).default(ATTACK_NAMES[0]))
    .option("--original <model>", "the model before the erasure: it draws the pictures to learn from")
    .option(
      "--image <path>",
      "picture of the concept to learn from, or a folder of pictures; repeatable",
      collect,
    )
    .option(
      "--classifier <path>",
      'a ResNet: a folder, a .safetensors with torchvision\'s keys, or "pocket", the one for models made from pocket',
    )
    .option("--seed <n>", "of every random draw (default: 0)", parseInteger)
    .option("--resume", "go on from the state in DIR");
  addOptionFlags(command, ATTACK_OPTIONS, DRAWN);
  addLoadOptions(command);
  command.option("--json", "print what happens as JSON, one object per line");
  addMethodFlags(command, attacks);
  helpInParts(command, attacks);
  command.addHelpText("after", HELP);
  command.action(async (model: string, flags: Flags) => {
    requireOptions(command, ["concept", "out"]);
    const method = attackNamed(flags.method);
    if (method.needsPictures && flags.original === undefined && flags.image === undefined)
      command.error("error: required option '--original <model>' or '--image <path>' not specified");
    const own = methodOptions(command, method, attacks);
    await attackCommand(model, flags, { ...optionValues(command, ATTACK_OPTIONS, DRAWN), ...own });
  });
}

const HELP = () => `
Examples:
  ${invocation()} attack no-church --concept church --original pocket --classifier pocket --out attacked
  ${invocation()} attack no-church --concept church --original pocket --classifier pocket --method diverse-inversion --bands 0:0.2 --bands 0.6:0.8 --out diverse
  ${invocation()} attack ./sd14-erased --concept "golf ball" --image ./golf-balls --classifier resnet50.safetensors --out attacked
`;

async function attackCommand(model: string, flags: Flags, given: Record<string, unknown>): Promise<void> {
  const json = flags.json === true;
  const { shard: named, ...own } = given as { shard?: Shard };
  const shard = shardOf(named);
  const bars = new Map<string, Progress>();
  const bar = (phase: string, label: string): Progress => {
    if (!bars.has(phase)) {
      for (const other of bars.values()) other.stop();
      bars.set(phase, new Progress(label, json));
    }
    return bars.get(phase)!;
  };
  const work = interruptible(`saving the state to ${flags.out}`, async (signal) => {
    const images = flags.image === undefined ? undefined : await picturesIn(flags.image);
    const diffusion = await loadModel(model, flags, signal);
    const { device, dtype } = diffusion;
    const original =
      flags.original === undefined
        ? undefined
        : await loadModel(flags.original, { ...flags, device, dtype }, signal);
    try {
      const result = await attack(diffusion, {
        ...commonOptions(flags),
        ...own,
        shard,
        ...(images === undefined ? {} : { images }),
        ...(original === undefined ? {} : { original }),
        directory: flags.out,
        cacheDirectory: join(flags.out, "images"),
        checkpoint: { directory: join(flags.out, "state") },
        resume: flags.resume === true,
        signal,
        onProgress({ phase, done, total, etaSeconds }) {
          const words = phase === "pictures" ? "to learn from" : "measured";
          bar(phase, "picture").update(done, total, words, etaSeconds);
          if (json) emit({ event: phase, done, total, etaSeconds });
        },
        onStep(report) {
          const { iteration, iterations, etaSeconds } = report;
          bar("search", "iteration").update(iteration, iterations, losses(report.losses), etaSeconds);
          if (json) emit({ event: "step", ...report });
        },
      });
      for (const one of bars.values()) one.stop();
      if ("shard" in result) {
        if (json) emit({ event: "done", ...result });
        else print(afterShards(`${plural(result.found, "input")} found by this shard lie in ${flags.out}`));
        return;
      }
      const { inputs, ...rest } = result;
      const found = inputs.map(({ name, prompt, text, band, rate }) => ({ name, prompt, text, band, rate }));
      const file = join(flags.out, "attack.json");
      if (json) emit({ event: "done", ...rest, history: undefined, inputs: found, result: file });
      else print(describeAttack(model, result, file));
      result.dispose();
    } finally {
      original?.dispose();
      diffusion.dispose();
    }
  }).finally(() => {
    for (const one of bars.values()) one.stop();
  });
  await work.catch((error: unknown) => {
    if (!(error instanceof KpopError) || error.code !== "ABORTED") throw error;
    const args = process.argv.slice(2);
    const again = commandLine(...args, ...(args.includes("--resume") ? [] : ["--resume"]));
    const message = `Interrupted. The state of the search is in ${flags.out}; go on with\n  ${again}`;
    throw new KpopError("ABORTED", message, { cause: error });
  });
}

/** Options of every attack that have a flag of their own name. */
const DRAWN = ["pictures", "prompt", "imagesPerInput", "steps", "guidanceScale", "sampler", "shard"];

function commonOptions({ concept, method, classifier, seed }: Flags): { concept: string } {
  const given = { method, classifier, seed };
  return { concept, ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) };
}

/** Picture files, those of a folder by name. @throws NOT_FOUND */
async function picturesIn(paths: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const path of paths) {
    const info = await stat(path).catch(() => null);
    if (info === null) throw new KpopError("NOT_FOUND", `There is no picture and no folder at ${path}`);
    if (!info.isDirectory()) found.push(path);
    else {
      const names = (await readdir(path)).filter((name) => /\.(?:png|jpe?g|webp)$/i.test(name)).sort();
      if (names.length === 0)
        throw new KpopError("NOT_FOUND", `There is no picture (.png, .jpg, .webp) in ${path}`);
      found.push(...names.map((name) => join(path, name)));
    }
  }
  return found;
}
