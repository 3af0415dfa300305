/** What one step of a run tells. */
export interface StepReport {
  /** Steps done, from 1. */
  iteration: number;
  iterations: number;
  losses: Record<string, number>;
  /** Since the start, interruptions left out. */
  seconds: number;
  etaSeconds: number;
}

/** How far a run is with what it makes before its first step. */
export interface PrepareReport {
  /** What is made or looked at, in the singular: "picture", or "word" while neighbours are chosen. */
  what: string;
  /** What is there, made now or before. */
  done: number;
  total: number;
  etaSeconds: number;
}
