import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ImageClassifier, inspect, KpopError } from "../lib/index";
import { joinRun, makeFolder, partOf } from "../lib/internal";
import { ROWS } from "./entrants";
import { machine } from "./machine";
import { parseOptions } from "./options";
import { choose, mainTrials, needsModel, searchTrials } from "./plan";
import { protocolNamed } from "./protocols";
import type { Protocol } from "./protocols/protocol";
import { report } from "./report/report";
import {
  EXPERIMENTS,
  RESULTS_FORMAT,
  type Results,
  type Settings,
  type TrialRecord,
  type TrialSpec,
} from "./results";
import { runTrials, type Command, type RunnerOptions } from "./runner";
import { Store, writeAtomically } from "./store";
import { storedTrial, type Assignment } from "./trial";

/**
 * Compares the methods: the search for options, then all other trials, then the report. Finished trials stay, so that the
 * same command goes on after an interruption, and several processes measure a part each: the report is written by the
 * command without a shard.
 * @param own the command that measures a trial
 * @returns the process's exit code: 0 done, 1 some trials failed, 130 interrupted
 * @throws INVALID_ARGUMENT before anything is run
 */
export async function compare(
  args: readonly string[],
  own: (assignment: Assignment) => Command,
  { signal, say }: Pick<RunnerOptions, "signal" | "say">,
): Promise<number> {
  const options = parseOptions(args, new Date().toISOString().slice(0, 10));
  const { out, jobs, shard } = options;
  const resultsFile = join(out, "results.json");
  if (options.reportOnly) {
    writeReport(out, readResults(resultsFile), say);
    return 0;
  }
  const protocol = protocolNamed(options.settings.protocol);
  const used = needsModel(options.settings);
  if (used) await checkInputs(options.settings, protocol);
  const settings = used
    ? { ...options.settings, styles: await knownStyles(options.settings, say) }
    : options.settings;
  const open = (): Store => Store.open(out, settings, say);
  // A run that the folder does not take is refused before other shards hear of it.
  if (Store.isAt(out)) open();
  else await makeFolder(out);
  const endRun = await joinRun(join(out, "shards.json"), () => Promise.resolve({ ...settings }), {
    part: shard !== undefined,
  });
  const store = open();
  const startedAt = new Date().toISOString();

  const runAll = async (specs: readonly TrialSpec[], later: number) => {
    const trials = specs.map((spec) => storedTrial(spec, { settings, store, own, say, signal }));
    const { results, failures } = await runTrials(trials, { jobs, signal, later, logs: join(out, "logs"), say });
    return { records: results.filter((record) => record !== null), failures };
  }; // prettier-ignore
  const search = searchTrials(protocol, settings);
  const estimate = mainTrials(protocol, settings, []).length;
  const part = shard === undefined ? "" : `, of which shard ${shard.index}/${shard.count} measures its part`;
  say(`${search.length + estimate} trials, ${jobs} at a time, into ${out}${part}`);
  // Everyone's other trials depend on the whole search: what no other shard is at is done here.
  const ownFirst = new Set([...partOf(shard, search), ...search]);
  const found = await runAll([...ownFirst], partOf(shard, Array(estimate).fill(null)).length);
  const searched = search.flatMap((spec) => store.read(spec, say) ?? []);
  const main = await runAll(signal.aborted ? [] : partOf(shard, mainTrials(protocol, settings, searched)), 0);
  if (signal.aborted) {
    say(`Interrupted; what is finished is kept in ${out}, and the same command goes on`);
    return 130;
  }
  const failures = [...found.failures, ...main.failures];
  if (shard !== undefined) {
    say(
      `This shard's trials are done; when all shards are, the same command with --shard 0/1 writes the report`,
    );
    return failures.length === 0 ? 0 : 1;
  }
  const results = collect(store, settings, protocol, { failures, startedAt, say });
  writeAtomically(resultsFile, `${JSON.stringify(results)}\n`);
  writeReport(out, results, say);
  await endRun?.();
  return results.failures.length === 0 ? 0 : 1;
}

/** Everything that is finished, of this call's methods and experiments and of earlier ones'. */
function collect(
  store: Store,
  settings: Settings,
  protocol: Protocol,
  { failures, startedAt, say }: Pick<Results, "failures" | "startedAt"> & Pick<RunnerOptions, "say">,
): Results {
  const all: Settings = {
    ...settings,
    // A quick run has some trials for the first of them alone.
    methods: [...new Set([...settings.methods, ...ROWS])],
    experiments: [...EXPERIMENTS],
  };
  const finished = (specs: readonly TrialSpec[]): TrialRecord[] =>
    specs.flatMap((spec) => store.read(spec, say) ?? []);
  const search = finished(searchTrials(protocol, all));
  const trials = [...finished(mainTrials(protocol, all, search)), ...search];
  const methods = ROWS.filter((method) => trials.some(({ spec }) => spec.method === method));
  return {
    format: RESULTS_FORMAT,
    settings: { ...all, methods },
    machine: machine(),
    chosen: choose(search),
    trials,
    failures,
    startedAt: earliest(startedAt, trials),
    finishedAt: new Date().toISOString(),
  };
}

/** A model that is not there, or a classifier that does not know the classes, is found out before hours of work. */
async function checkInputs(settings: Settings, protocol: Protocol): Promise<void> {
  if (settings.model !== "pocket") await inspect(settings.model);
  using classifier = await ImageClassifier.load(settings.classifier);
  const { tuning } = protocol;
  for (const name of [...protocol.classes, ...(tuning?.erased ?? []), ...(tuning?.preserved ?? [])])
    classifier.indexOf(name);
}

/** Styles that the style classifier can tell apart; without one, all. */
async function knownStyles(
  { styles, styleClassifier }: Settings,
  say: (sentence: string) => void,
): Promise<string[]> {
  if (styleClassifier === null) return styles;
  using classifier = await ImageClassifier.load(styleClassifier);
  const known = styles.filter((style) => classifier.classes.has(style.toLowerCase()));
  const missing = styles.filter((style) => !known.includes(style));
  if (missing.length > 0) say(`${styleClassifier} knows no style ${missing.join(", ")}: left out`);
  return known;
}

function writeReport(out: string, results: Results, say: (sentence: string) => void): void {
  const { html, markdown } = report(results);
  writeAtomically(join(out, "report.html"), html);
  writeAtomically(join(out, "tables.md"), markdown);
  say(`The report: ${join(out, "report.html")} (tables alone: ${join(out, "tables.md")})`);
}

function readResults(path: string): Results {
  if (!existsSync(path))
    throw new KpopError("NOT_FOUND", `There is no ${path}; run the comparison first, without --report`);
  try {
    const results = JSON.parse(readFileSync(path, "utf8")) as Results;
    if (results.format === RESULTS_FORMAT) return results;
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
  }
  throw new KpopError(
    "UNSUPPORTED_FORMAT",
    `${path} holds no results of this benchmark; run the same command without --report to write it again from the finished trials`,
  );
}

/** When the first of all trials began, whichever call it was in. */
function earliest(now: string, records: readonly TrialRecord[]): string {
  const starts = records.map(
    ({ finishedAt, wallSeconds }) => Date.parse(finishedAt) - Math.round(1000 * wallSeconds),
  );
  return new Date(Math.min(Date.parse(now), ...starts)).toISOString();
}
