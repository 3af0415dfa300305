import type { ErasureCertificate } from "./statement";

/** One thing that `verify` looked at. */
export interface VerificationCheck {
  /** "signature", "signer", "figures", "base", "model", "run", "artefact", "evaluation", "pictures" or "rerun". */
  name: string;
  ok: boolean;
  /** What was found; of one that is not ok, the reason. */
  found: string;
}

/** A picture that was drawn again. */
export interface RedrawnPicture {
  prompt: string;
  seed: number;
  file: string;
  /** What it was compared by: its bytes, where the machine is of the kind that drew it first, else the classifier's rank. */
  by: "bytes" | "rank";
  /** Whether it has the same bytes; by rank, whether it counts the same in every rate that was certified. */
  ok: boolean;
  /** The rank that was certified, and that of the picture drawn again; null where bytes were compared. */
  rank: { certified: number; now: number } | null;
}

/** What `verify` found; plain data, as `kpop-native verify --json` prints it. */
export interface Verification {
  /** Whether nothing that was looked at speaks against the certificate. What was not looked at is in `skipped`. */
  ok: boolean;
  checks: VerificationCheck[];
  /** What was not looked at, for want of what to compare it with: names of options of `verify`. */
  skipped: string[];
  /** SHA-256 of the DER of the public key that signed, 64 hexadecimal digits. */
  keyid: string;
  /** Whether that is the signer who was asked for; false where none was. */
  trusted: boolean;
  /** What the certificate says; null where its signature does not hold. */
  certificate: ErasureCertificate | null;
  /** The pictures that were drawn again, with the seed of their choice. */
  rerun?: { seed: number; pictures: RedrawnPicture[] };
}

/** Notes what is found. */
export class Findings {
  readonly checks: VerificationCheck[] = [];
  readonly skipped: string[] = [];

  pass(name: string, found: string): void {
    this.checks.push({ name, ok: true, found });
  }

  fail(name: string, found: string): void {
    this.checks.push({ name, ok: false, found });
  }

  /** @param rest what was opened, and what was drawn again */
  result(rest: Omit<Verification, "ok" | "checks" | "skipped">): Verification {
    const { checks, skipped } = this;
    return { ok: checks.every(({ ok }) => ok), checks, skipped, ...rest };
  }
}
