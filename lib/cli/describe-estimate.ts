import type { Estimate, MemoryParts } from "../index";
import { bytes, count, duration, plural } from "./format";

/** What the parts of the memory are called. */
const PARTS: Readonly<Record<keyof MemoryParts, string>> = {
  mappedWeights: "weights, pages of their files",
  copiedWeights: "weights, copied",
  masters: "float32 copies of what is trained",
  moments: "Adam's moments",
  gradients: "gradients",
  activations: "activations of the largest graph",
  working: "working memory of a pass",
  latents: "latents and pictures",
  texts: "texts",
  preparation: "what preparing needs beyond that",
  process: "the rest of the process",
};

/** An estimate for people. */
export function describeEstimate(estimate: Estimate): string {
  const { method, device, dtype, memory, time, leftOut } = estimate;
  const { peakBytes, availableBytes, parts } = memory;
  const held = (Object.entries(parts) as [keyof MemoryParts, number][]).filter(([, value]) => value > 0);
  const available = availableBytes === null ? "" : `, of ${bytes(availableBytes)} available`;
  return [
    `${method} on ${device} in ${dtype}, estimated; nothing was trained or written`,
    "",
    `memory  ${bytes(peakBytes)} at most${available}`,
    ...aligned(held.map(([name, value]) => [PARTS[name], bytes(value)] as const)),
    "",
    ...(time === null ? ["time    not measured: the memory does not suffice"] : timeOf(time)),
    ...(leftOut.length === 0 ? [] : ["", `left out: what ${leftOut.join(", ")} will take`]),
  ].join("\n");
}

function timeOf(time: NonNullable<Estimate["time"]>): string[] {
  const { iterations, parts, seconds, secondsPerIteration, unetEvaluations } = time;
  const each = iterations === 0 ? "" : `, ${precise(secondsPerIteration)} an iteration`;
  const spent = parts.reduce((sum, part) => sum + part.seconds, 0);
  const rows = parts.map((part) => [plural(part.count, part.what), precise(part.seconds)] as const);
  return [
    `time    ${precise(seconds)}${each}; ${plural(unetEvaluations, "UNet evaluation")}`,
    ...aligned([...rows, ["what is done once", precise(Math.max(0, seconds - spent))]]),
  ];
}

/** Seconds, with the digits that short ones have. */
function precise(seconds: number): string {
  return seconds < 0.995 ? `${count(Number((1000 * seconds).toPrecision(2)))} ms` : duration(seconds);
}

function aligned(rows: readonly (readonly [name: string, value: string])[]): string[] {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`);
}
