import type { Command } from "commander";
import { writeReport } from "../../index";
import { bytes, plural } from "../format";
import { interruptible } from "../interrupt";
import { emit, print, say } from "../output";
import { parseInteger } from "../parse-value";
import { invocation } from "../shell";

interface Flags {
  out: string;
  title?: string;
  pictures?: number;
  json?: boolean;
}

/** `kpop-native report DIR… --out FILE`: one page of what was erased, measured and attacked. */
export function registerReport(program: Command): void {
  program
    .command("report")
    .usage("<DIR...> [options]")
    .summary("write one page of what was erased, measured and attacked")
    .description(
      "Write one HTML page that needs nothing else: pictures before, after and with the key, rates with intervals, attacks " +
        "and what they spent, losses, manifests, and the commands.\n" +
        "DIR is a folder that erase, evaluate or attack filled, or one that holds such folders. What belongs together is " +
        "told by the weights; several erasures are compared, and so are several models of one evaluation. Needs no libtorch.",
    )
    .argument("<DIR...>", "folders that erase, evaluate and attack filled")
    .option("--out <file>", "the page", "report.html")
    .option("--title <text>", "its heading (default: what was erased)")
    .option(
      "--pictures <n>",
      "pictures of each class, of prompts without one, and of each attack's inputs (default: 4)",
      parseInteger,
    )
    .option("--json", "print what was written as JSON")
    .addHelpText("after", HELP)
    .action(reportCommand);
}

const HELP = () => `
Examples:
  ${invocation()} report no-church measured recovered attacked --out church.html
  ${invocation()} report runs --pictures 8
`;

async function reportCommand(folders: string[], { out, json, ...options }: Flags): Promise<void> {
  say(`Reading ${folders.join(", ")}`);
  const report = await interruptible("no page was written", (signal) =>
    writeReport(folders, out, { ...options, signal }),
  );
  if (json === true) return emit({ event: "done", ...report });
  const { models, evaluations, attacks, pictures, missing } = report;
  if (missing > 0) say(`${plural(missing, "picture")} of the evaluations are no longer where they were`);
  const held = [plural(evaluations, "evaluation"), plural(attacks, "attack"), plural(pictures, "picture")];
  print(`Wrote ${out}: ${[models.join(", "), ...held].join("; ")} (${bytes(report.bytes)})`);
}
