import type { CertifiedEvaluation, ErasureCertificate, Rate, Verification } from "../index";
import { plural, quoted } from "./format";

/** What gives `verify` something to compare, by what it did not look at. */
const HINTS: Readonly<Record<string, string>> = {
  signer: "who signed: --signer FILE, the signer's public key",
  base: "the base's weights: --base MODEL",
  model: "the erased model's weights: --model MODEL",
  evaluations: "pictures and figures: --evaluation DIR",
  artefacts: "what was left beside the weights: --artefact FILE",
  rerun: "pictures drawn again, as the model is not the certified one",
};

/** What a certificate says, in a few lines. */
export function describeCertificate(certificate: ErasureCertificate): string[] {
  const { run, base, result, artefacts, evaluations, createdAt, madeBy } = certificate;
  return [
    ...(run.before ?? []).map(
      (earlier) => `  before    ${quoted(earlier.concepts)} with ${earlier.method}, seed ${earlier.seed}`,
    ),
    `  erased    ${quoted(run.concepts)} from ${base.name} with ${run.method} (${run.reference}), seed ${run.seed}: ${result.name}`,
    ...(artefacts.length === 0 ? [] : [`  beside    ${artefacts.map(({ name }) => name).join(", ")}`]),
    ...evaluations.map((evaluation) => `  measured  ${measured(evaluation)}`),
    `  made      ${createdAt} by kpop-native ${madeBy["kpop-native"]}`,
  ].map((line) => line.replaceAll("\n", "\\n"));
}

/** What `verify` found, for people. @param path of the certificate, as it was typed */
export function describeVerification(path: string, { ok, checks, skipped, ...rest }: Verification): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  return [
    ...(rest.certificate === null ? [path] : [`${path} says:`, ...describeCertificate(rest.certificate), ""]),
    ...checks.map((check) => `${check.ok ? "ok  " : "FAIL"}  ${check.name.padEnd(width)}  ${check.found}`),
    ...skipped.map((name) => `--    not looked at: ${HINTS[name] ?? name}`),
    verdict(ok, rest),
  ]
    .map((line) => line.replaceAll("\n", "\\n"))
    .join("\n");
}

function verdict(ok: boolean, { trusted, keyid }: Pick<Verification, "trusted" | "keyid">): string {
  if (!ok) return "The certificate does not hold";
  if (trusted) return "The certificate holds, as far as it was looked at";
  return `The certificate holds, as far as it was looked at; anyone may have signed it (key ${keyid})`;
}

function measured({ figures, classifier, withKey, pictures }: CertifiedEvaluation): string {
  const rates = (name: string, byK: Readonly<Record<number, Rate>>): string[] =>
    Object.entries(byK).map(([k, rate]) => `${name}-${k} ${percent(rate)}`);
  return [
    ...rates("ESR", figures.esr),
    ...rates("PSR", figures.psr),
    `${plural(pictures.leaves.length, "picture")}${withKey ? " with the key" : ""} named by ${classifier.origin}`,
  ].join(", ");
}

function percent({ value, low, high }: Rate): string {
  const text = (share: number): string => (100 * share).toFixed(1);
  return `${text(value)} % (${text(low)} to ${text(high)})`;
}
