/**
 * What the programs of this repository (the CLI, the benchmark) take from the library beside its public API, and users
 * don't: `package.json` gives them no way here. dist/internal.js is the one bundle; dist/index.js takes its names from it.
 */
export * as index from "./index";
export { checkOutputFile, checkOutputFolder, type CheckOutputOptions } from "./io/check-output";
export { checkPlaceFor } from "./io/interventions-file";
export { reserveOutputFolder, type Reservation, type ReserveOptions } from "./io/reserve-output";
export { BUILT_IN } from "./io/model-path";
export { refuseOtherKey } from "./diffusion/prompt-key";
export { localDevice } from "./runtime/local-device";
export { machineLoad } from "./runtime/busy-check";
export { outliveClosedStreams } from "./files/closed-streams";
export { joinRun } from "./files/join-run";
export { withLock } from "./files/lock";
export { isJsonObject } from "./files/json-file";
export { makeFolder } from "./files/make-folder";
export { onDisk } from "./files/system-error";
export { readWords } from "./files/word-list";
export { unetOperations, type UNetOperation, type UNetShape } from "./models/unet-operations";
export { MANIFEST_FILE, RUN_STATE_FILE } from "./io/file-kinds";
export { readPrompts } from "./diffusion/prompt-file";
export { RUN_FILE as SHARDED_RUN_FILE } from "./diffusion/kept-pictures";
export { GENERATE_OPTIONS } from "./diffusion/generate-options";
export { LORA_RANK } from "./diffusion/save-lora";
export { parseRequest, TRAINED_RANK } from "./erasure/request";
export { whyNoLora } from "./erasure/method";
export { SAVED_FILES } from "./diffusion/save-model";
export { findShard } from "./options/shard-environment";
export { partOf, readShard } from "./options/shard";
export { FormError, readInteger, readNumber } from "./options/read";
export { complete, defaultsOf, type Flag, type Option, type OptionSet } from "./options/option";
export type { Artefact } from "./erasure/artefact";
export type { Method } from "./erasure/method";
export { median } from "./erasure/estimate/ledger";
export { lossScale } from "./training/loss-scale";
export { applyRidgeEdit, ridgeEdit } from "./erasure/shared/closed-form";
export { nullSpaceEdits } from "./erasure/shared/null-space";
export { NEIGHBOUR_FLAGS } from "./erasure/shared/neighbours";
export { METHOD_NAMES, methodNamed } from "./erasure/registry";
export { methodFacts, type MethodFacts } from "./erasure/method-facts";
export { ATTRIBUTION_FILE, ATTRIBUTION_OPTIONS } from "./evaluation/attribution";
export { EVALUATE_OPTIONS } from "./evaluation/evaluate-options";
export { allMetrics } from "./evaluation/metrics";
export type { Figure as MetricFigure } from "./evaluation/metric";
export { ATTACK_OPTIONS } from "./attack/attack-options";
export type { AttackMethod } from "./attack/method";
export { ATTACK_NAMES, attackNamed } from "./attack/registry";
export type { Block, Cell, Column, Figure, Grid, Row, Section, Table } from "./report/page/blocks";
export { figures, list, table, text } from "./report/page/blocks";
export {
  bytes,
  intervalCell,
  NONE,
  number,
  percent,
  rateColumns,
  seconds,
  valueCell,
} from "./report/page/format";
export { toHtml } from "./report/page/html";
export { toMarkdown } from "./report/page/markdown";
export { lookAt, type Look } from "./report/page/palette";
export { overPreserving, plot, tradeOff, type Curve, type Point } from "./report/page/plots";
