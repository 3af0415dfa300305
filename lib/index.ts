/** Remove concepts from Stable Diffusion checkpoints. @module kpop-native */
export { KpopError, type KpopErrorCode } from "./errors";
export type {
  AttackTrace,
  EraseTrace,
  EvaluateTrace,
  GenerateTrace,
  InvertTrace,
  LoadTrace,
  StepMessage,
  TraceMessages,
} from "./diagnostics";
export { Tensor, type Dtype, type TensorOptions, type TypedArray } from "./runtime/tensor";
export { scope, keep } from "./runtime/scope";
export { noGrad } from "./runtime/grad-mode";
export { Random } from "./runtime/random";
export * as safetensors from "./io/safetensors";
export { Image } from "./io/image";
export { sheet, type SheetRow, type SheetSection } from "./io/sheet";
export { inspect, type InspectOptions } from "./io/inspect";
export type {
  DeltaInspection,
  FileSummary,
  Inspection,
  KeyInspection,
  LoraInspection,
  ManifestInspection,
  ModelInspection,
  RunFolderInspection,
  RunStateInspection,
  SafetensorsInspection,
  InterventionSummary,
  TensorSummary,
} from "./io/inspection";
export { convert, type ConvertOptions } from "./io/convert";
export { download, type DownloadOptions } from "./io/local-path";
export type { DownloadProgress } from "./hub/download";
export { Adam, type AdamOptions } from "./nn/optimizer";
export { clipGradients } from "./nn/clip-gradients";
export type { Schedule, ScheduleFunction, ScheduleShape } from "./nn/schedules";
export {
  CLIPTokenizer,
  type EncodeOptions,
  type TokenizerOptions,
  type TokenizerPaths,
} from "./text/clip-tokenizer";
export type { TokenizerFiles } from "./io/tokenizer-files";
export {
  UNet2DConditionModel,
  type AddedConditions,
  type PromptLayers,
  type PromptMechanism,
  type UNetConfig,
  type Tap,
  type UNetActivationOptions,
  type UNetForwardOptions,
} from "./models/unet";
export type { Module } from "./models/module";
export { AutoencoderKL, type AutoencoderKLConfig } from "./models/vae";
export { CLIPTextModel, type CLIPTextForwardOptions } from "./models/clip-text";
export { CLIPModel } from "./models/clip";
export type { CLIPConfig, CLIPTextConfig, CLIPVisionConfig } from "./models/clip-config";
export { ResNet, type ResNetConfig, type ResNetForwardOptions } from "./models/resnet";
export { InceptionV3 } from "./models/inception";
export { LPIPS, type LPIPSConfig } from "./models/lpips";
export type { ParameterSelector } from "./models/parameter-selector";
export type { LearnedToken } from "./diffusion/learned-tokens";
export {
  NoiseSchedule,
  type BetaSchedule,
  type NoiseScheduleConfig,
  type TimestepSpacing,
} from "./diffusion/noise-schedule";
export type { PredictionType } from "./diffusion/prediction-type";
export type { Linear } from "./diffusion/linear";
export { addNoise } from "./diffusion/noisy-latents";
export {
  StableDiffusion,
  type Device,
  type LoadOptions,
  type LoadProgress,
} from "./diffusion/stable-diffusion";
export type { ComputeDtype } from "./diffusion/model";
export type { ComponentName } from "./io/checkpoint-types";
export type { Condition } from "./diffusion/condition";
export {
  predictNoise,
  type Denoiser,
  type Injection,
  type NoisyBatch,
  type PredictOptions,
} from "./diffusion/predict";
export type {
  Intervention,
  NetworkInput,
  Steering,
  StepPredictions,
  Taps,
} from "./diffusion/interventions/intervention";
export type { GenerateOptions, GenerateStep } from "./diffusion/generate-options";
export type { PictureSizes, PixelPair } from "./diffusion/picture-sizes";
export {
  generateImageSet,
  ImageSet,
  type ImageSetItem,
  type ImageSetOptions,
  type ImageSetProgress,
} from "./diffusion/image-set";
export {
  listCachedPictures,
  removeCachedPictures,
  type CachedPictures,
  type PictureCacheOptions,
} from "./diffusion/image-set-cache";
export { SAMPLER_NAMES, type SamplerName } from "./diffusion/samplers";
export { applyLora, type ApplyLoraOptions } from "./diffusion/apply-lora";
export type { Lora } from "./diffusion/lora";
export { SAVE_FORMATS, type SaveFormat, type SaveOptions } from "./diffusion/save-model";
export type { PromptForm, PromptPlace } from "./diffusion/prompt-form";
export { PromptKey, type PromptKeyFields } from "./diffusion/prompt-key";
export { invert, type InvertOptions } from "./inversion/invert";
export { invertDiverse, type InvertDiverseOptions } from "./inversion/invert-diverse";
export { Inversion, type InversionRecord } from "./inversion/inversion";
export type { InversionOptions } from "./inversion/inversion-options";
export { DIVERSE_BANDS, type CosineBand } from "./inversion/cosine-band";
export { erase } from "./erasure/erase";
export { estimate, type Estimate, type EstimatedTime } from "./erasure/estimate/estimate";
export type { MemoryParts } from "./erasure/estimate/memory";
export type { RunPart } from "./erasure/estimate/ledger";
export type { Artefact } from "./erasure/artefact";
export { Erasure, type SaveErasureOptions } from "./erasure/erasure";
export { push, type Pushed, type PushOptions, type PushProgress } from "./erasure/push";
export type { TrajectorySampling } from "./diffusion/samplers/training-trajectory";
export type { ErrorSpace } from "./erasure/shared/prediction-error";
export type { CustomLatents } from "./erasure/shared/custom-source";
export type { RunLog, RunManifest } from "./erasure/manifest";
export type { Neighbours } from "./erasure/shared/neighbours";
export type { CommonOptions, Method, MethodKind } from "./erasure/method";
export type { Complete, Flag, Given, Option, OptionSet } from "./options/option";
export type { RunOptions } from "./training/run-options";
export type { PrepareReport, StepReport } from "./training/step-report";
export type { AgeOptions } from "./erasure/methods/age";
export type { CaOptions } from "./erasure/methods/ca";
export type { DumoOptions } from "./erasure/methods/dumo";
export type { EapOptions } from "./erasure/methods/eap";
export type { EsdOptions } from "./erasure/methods/esd";
export type { ConceptPruneOptions } from "./erasure/methods/concept-prune";
export type { PruneOptions } from "./erasure/methods/prune";
export type { TimeOptions } from "./erasure/methods/time";
export type { RaceOptions } from "./erasure/methods/race";
export type { FmnOptions } from "./erasure/methods/fmn";
export type { SddOptions } from "./erasure/methods/sdd";
export type { SaeuronOptions } from "./erasure/methods/saeuron";
export { SparseAutoencoder, type SparseAutoencoderFields } from "./erasure/sparse-autoencoder";
export type { AutoencoderWeights } from "./nn/sparse-autoencoder";
export type { SldOptions } from "./erasure/methods/sld";
export type { SpaceOptions } from "./erasure/methods/space";
export type { StereoOptions } from "./erasure/methods/stereo";
export type { KpopOptions } from "./erasure/methods/kpop";
export type { PromptOptions } from "./erasure/shared/learned-prompt";
export type { TaskVectorOptions } from "./erasure/methods/task-vector";
export {
  chooseAlpha,
  type AlphaChoice,
  type AlphaSearch,
  type AlphaSearchSetting,
  type AlphaTrial,
} from "./erasure/choose-alpha";
export { TaskVector, type ApplyOptions, type TaskVectorFields } from "./erasure/task-vector";
export type { UceOptions } from "./erasure/methods/uce";
export type { ReceOptions } from "./erasure/methods/rece";
export type { RoundScore } from "./erasure/shared/best-round";
export type { SpeedOptions } from "./erasure/methods/speed";
export type { OceOptions } from "./erasure/methods/oce";
export type { RowAlignment } from "./erasure/shared/paired-rows";
export { METHOD_NAMES, type EraseOptions, type MethodOptions } from "./erasure/registry";
export { shardFromEnvironment } from "./options/shard-environment";
export type { Shard } from "./options/shard";
export type { EvaluationShard } from "./evaluation/evaluation-shard";
export { evaluate, type ComparedModel, type Comparison } from "./evaluation/evaluate";
export type { EvaluatedPicture, Evaluation, RankedClass } from "./evaluation/evaluation";
export type { ModelDifference, ModelEvaluation } from "./evaluation/compare-models";
export { pairedMeans, pairedRates, type PairedDifference } from "./evaluation/paired";
export type { Accuracy, ClassEvaluation, CrossClassEvaluation } from "./evaluation/summarize";
export type { PromptRow } from "./diffusion/prompt-file";
export type { MetricNotes, MetricResults } from "./evaluation/metrics";
export type { NudityResult, PartCount } from "./evaluation/metrics/nudity";
export { NUDENET_LABELS, type Detection, type NudenetLabel } from "./evaluation/nudenet";
export type { PictureDistances } from "./evaluation/metrics/lpips";
export type { SetDistance, SetDistances } from "./evaluation/set-distance";
export type {
  EvaluateOptions,
  EvaluateShardOptions,
  EvaluationProgress,
} from "./evaluation/evaluate-options";
export {
  attribution,
  type Attribution,
  type AttributionOptions,
  type WordAttribution,
} from "./evaluation/attribution";
export { overlay, type HeatMap } from "./evaluation/heat-map";
export type { Judge } from "./evaluation/judge";
export { Classifier, type ClassifyOptions, type Ranking } from "./evaluation/classifier";
export { ImageClassifier, type LoadClassifierOptions } from "./evaluation/image-classifier";
export { IMAGENETTE, type ClassList } from "./evaluation/classifier-files";
export type { ZeroShotClassifier } from "./evaluation/zero-shot-classifier";
export { ClipScorer, type LoadClipOptions } from "./evaluation/clip-scorer";
export { preprocess, type Preprocessing } from "./evaluation/preprocess";
export type { Interpolation } from "./io/resample";
export {
  averageRate,
  erasedRate,
  meanOf,
  preservedRate,
  rate,
  type Mean,
  type Rate,
} from "./evaluation/rates";
export { attack, type AttackResult, type AttackShard } from "./attack/attack";
export type { AttackPart, AttackProgress, CommonAttackOptions } from "./attack/attack-options";
export type { AttackedInput, AttackedPicture } from "./attack/measure";
export { ATTACK_NAMES, type AttackOptions } from "./attack/registry";
export type { ConceptPair } from "./attack/concept-vector";
export type { AttackInput } from "./attack/input";
export type { ConceptInversionOptions } from "./attack/methods/concept-inversion";
export type { DiverseInversionOptions } from "./attack/methods/diverse-inversion";
export type { KeySearchOptions } from "./attack/methods/key-search";
export type { RelearnOptions } from "./attack/methods/relearn";
export type { RingABellOptions } from "./attack/methods/ring-a-bell";
export type { TinaOptions } from "./attack/methods/tina";
export type { UnlearnDiffOptions } from "./attack/methods/unlearn-diff";
export { certify, type CertifiedErasure, type CertifyOptions } from "./certificate/certify";
export { verify, type VerifyOptions } from "./certificate/verify";
export { newSigningKey, type SigningKeyFiles } from "./certificate/signing-key";
export type { RedrawnPicture, Verification, VerificationCheck } from "./certificate/verification";
export type {
  CertifiedArtefact,
  CertifiedEvaluation,
  CertifiedFigures,
  CertifiedPicture,
  ErasureCertificate,
} from "./certificate/statement";
export type { CheckpointIdentity, NetworkIdentity } from "./certificate/checkpoint-identity";
export type { Envelope } from "./certificate/envelope";
export type { RerunOptions } from "./certificate/rerun";
export type { ModelCardOptions } from "./certificate/write-model-card";
export { writeReport, type Report, type ReportOptions } from "./report/write-report";
export type { MachineKind } from "./runtime/machine";
export type { LibtorchSource } from "./runtime/libtorch";
export { doctor, type DoctorCheck, type DoctorOptions, type DoctorReport } from "./runtime/doctor";
export {
  installRuntime,
  type InstallProgress,
  type InstallRuntimeOptions,
  type InstalledRuntime,
} from "./runtime/install/install-runtime";
export {
  listRuntimes,
  removeRuntimes,
  type CachedRuntime,
  type RemoveRuntimesOptions,
} from "./runtime/install/installed-runtimes";
