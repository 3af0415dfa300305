import type { Command } from "commander";
import { ATTACK_NAMES, attackNamed, METHOD_NAMES, methodFacts, methodNamed } from "../../internal";
import type { AttackMethod, MethodFacts } from "../../internal";
import { emit, print } from "../output";
import { invocation } from "../shell";

const HEADINGS = { training: "Training", "closed form": "Closed forms", inference: "At inference" } as const;
const NETWORKS: Readonly<Record<string, string>> = { unet: "UNet", textEncoder: "text encoder" };

/** `kpop-native methods [--json]`: what `erase --method` takes. */
export function registerMethods(program: Command): void {
  program
    .command("methods")
    .summary("list the methods of erasing: paper, kind, cost, what each changes and leaves")
    .description(
      "List the methods that erase --method takes. Costs are those of one noisy latent, with 2 evaluations more where " +
        "prompts or neighbours are kept; a method changes, by default, the weights that --parameters names so.",
    )
    .option("--json", "print each as a JSON object on a line of its own")
    .addHelpText("after", () => `\n${invocation()} erase --help <method> shows the options of one.\n`)
    .action(({ json = false }: { json?: boolean }) => {
      const methods = METHOD_NAMES.map((name) => methodFacts(methodNamed(name)));
      if (json) for (const method of methods) emit({ event: "method", ...method });
      else print(describeMethods(methods));
    });
}

/** `kpop-native attacks [--json]`: what `attack --method` takes. */
export function registerAttacks(program: Command): void {
  program
    .command("attacks")
    .summary("list the attacks: paper, cost, what each needs and finds")
    .description("List the attacks that attack --method takes.")
    .option("--json", "print each as a JSON object on a line of its own")
    .addHelpText("after", () => `\n${invocation()} attack --help <attack> shows the options of one.\n`)
    .action(({ json = false }: { json?: boolean }) => {
      const attacks = ATTACK_NAMES.map(attackNamed);
      if (!json) return print(attacks.map(describeAttack).join("\n\n"));
      for (const { name, title, short, reference, needsPictures, finds, cost } of attacks)
        emit({ event: "attack", name, title, short, reference, needsPictures, finds, cost });
    });
}

function describeMethods(methods: readonly MethodFacts[]): string {
  const kinds = [...new Set(methods.map(({ kind }) => kind))];
  return kinds
    .flatMap((kind) => [
      `${HEADINGS[kind]}:`,
      ...methods.filter((method) => method.kind === kind).map(describeMethod),
    ])
    .join("\n\n");
}

function describeMethod({ name, title, short, reference, cost, changes, leaves }: MethodFacts): string {
  const weights =
    changes === null
      ? "no weights"
      : `${NETWORKS[changes.network] ?? changes.network}: ${changes.parameters}`;
  const given = leaves.length === 0 ? [] : [`leaves   ${leaves.join(", ")}`];
  return entry(name, `${title} (${reference})`, [short, `costs    ${cost}`, `changes  ${weights}`, ...given]);
}

function describeAttack({ name, title, short, reference, needsPictures, finds, cost }: AttackMethod): string {
  const needs = needsPictures ? "the weights, and pictures of the concept" : "no pictures of the concept";
  return entry(name, `${title} (${reference})`, [
    short,
    `finds  ${finds}`,
    `needs  ${needs}`,
    `costs  ${cost}`,
  ]);
}

function entry(name: string, title: string, lines: readonly string[]): string {
  return [`${name}: ${title}`, ...lines.map((line) => `  ${line}`)].join("\n");
}
