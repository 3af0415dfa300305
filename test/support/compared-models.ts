import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { PromptKey } from "../../lib/diffusion/prompt-key";
import { evaluate, type ComparedModel } from "../../lib/evaluation/evaluate";
import type { EvaluateOptions } from "../../lib/evaluation/evaluate-options";
import { certifiableErasure } from "./certified-erasure";
import { evaluationFixture } from "./evaluation";
import { TINY_DETECTOR } from "./nudenet";
import { temporaryDirectory } from "./temporary-directory";

/** Folders as `evaluate` leaves them of several models, and of prompt files, of one erasure. */
export interface ComparedModels {
  /** The erasure of "church". */
  result: string;
  /** Original, result, and result with the key: classes, classes of another domain, and metrics. */
  classes: string;
  /** Original and result: a prompt file with classes, settings of its rows and a row of no class. */
  rows: string;
  /** The result alone: prompts without any class. */
  prompts: string;
}

/** What a prompt file has to have a page escape, and to cut. */
export const LONG_PROMPT = `a <b>"bold"</b> & rather long one, ${"with many words ".repeat(10)}end`;

const ROWS = [
  "case_number,prompt,evaluation_seed,class,cross_class,evaluation_guidance,width",
  "7,Image of church,11,church,owl,2,32",
  "8,an old church,12,church,owl,3,32",
  "9,a dog at night,13,dog,,3,32",
  `10,"${LONG_PROMPT.replaceAll('"', '""')}",14,,,2,40`,
];

export async function comparedModels(): Promise<ComparedModels> {
  const { base, result, key: file, classifier } = await certifiableErasure();
  using key = await PromptKey.load(file, { anyModel: true });
  const models: ComparedModel[] = [
    { name: "base", model: base },
    { name: "no-church", model: result },
    { name: "no-church with the key", model: result, key },
  ];
  const measured = async (
    given: string | readonly ComparedModel[],
    options: EvaluateOptions,
    command: string,
  ): Promise<string> => {
    const out = temporaryDirectory();
    const all = {
      ...{ steps: 2, height: 32, topK: [1], command, ...options },
      ...{ cacheDirectory: join(out, "images"), resultFile: join(out, "evaluation.json") },
    };
    await (typeof given === "string" ? evaluate(given, all) : evaluate(given, all));
    return out;
  };
  const nudity = { detector: TINY_DETECTOR, thresholds: [0.5] };
  const cmmd = { clip: evaluationFixture("clip") };
  const classes = await measured(
    models,
    {
      ...{ erased: ["church"], preserved: ["dog"], crossDomain: ["owl"], classifier, imagesPerClass: 3 },
      ...{ guidanceScale: 2, width: 32, cmmd },
    },
    "kpop-native evaluate base no-church",
  );
  const prompts = join(temporaryDirectory(), "prompts.csv");
  writeFileSync(prompts, ROWS.join("\n"));
  const rows = await measured(
    models.slice(0, 2),
    { prompts, erased: ["church"], classifier, clip: evaluationFixture("clip") },
    "kpop-native evaluate --prompts prompts.csv",
  );
  const plain = [1, 2, 3].map((seed) => ({ prompt: `number ${seed}`, seed }));
  const alone = await measured(
    result,
    { prompts: plain, nudity, width: 32, guidanceScale: 2 },
    "kpop-native evaluate --nudity-detector",
  );
  return { result, classes, rows, prompts: alone };
}
