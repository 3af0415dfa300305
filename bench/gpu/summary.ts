import type { Comparison, Timing } from "./assignment";
import type { ErasureRates } from "./erasure";
import { floorSeconds, H200 } from "./floor";
import type { GpuMachine, MethodResult, Results, UNetResult } from "./results";

/** gpu.md: what was measured, for people. */
export function summary(results: Results): string {
  const { date, size, device, machine, parity, erasures, training, unet, methods, failures, seconds } =
    results;
  const model =
    size === "full" ? "Stable Diffusion 1.4's architecture, random weights" : "pocket, the built-in model";
  const lines = [`# ${device}, ${date}`, ""];
  if (device === "cpu") lines.push("**Run on the CPU, not on a GPU.** It shows that everything runs.", "");
  lines.push(...machineLines(machine), `- it took ${(seconds / 60).toFixed(1)} min`, "");

  if (parity.length > 0) {
    lines.push("## Parity with diffusers and transformers (float32, CPU)", "");
    lines.push("The largest errors of the two golden checkpoints, and what they may be.", "");
    lines.push("| dtype | figure | error | limit | |", "|---|---|---|---|---|");
    for (const { dtype, comparisons } of parity) {
      for (const { what, error, limit } of worstOf(comparisons))
        lines.push(
          `| ${dtype} | ${what} | ${error.toExponential(1)} | ${limit} | ${error <= limit ? "" : "**over**"} |`,
        );
    }
    lines.push("");
  }
  if (erasures.length > 0) {
    lines.push("## KPOP on the built-in model, by default", "");
    lines.push("One concept erased, 12 pictures of each of ten classes.", "");
    lines.push(
      "| dtype | erased | preserved | back with the key | others stay | training, s | a picture, ms |",
    );
    lines.push("|---|---|---|---|---|---|---|", ...erasures.map(erasureRow), "");
  }
  if (training !== null) {
    lines.push("## Training the built-in model", "");
    lines.push(
      `${training.stepsPerSecond.toPrecision(3)} steps of the diffusion stage a second, batch 24.`,
      "",
    );
  }
  if (unet.length > 0) {
    lines.push(`## UNet by batch: ${model}`, "");
    lines.push("Milliseconds; training is a forward and a backward into attn2.", "");
    lines.push("| dtype | of | batch | ours | peer | peer / ours |", "|---|---|---|---|---|---|");
    lines.push(...unet.flatMap(unetRows), "");
  }
  if (methods.length > 0) {
    lines.push(`## Methods: ${model}`, "");
    lines.push(
      "Seconds of one iteration at the method's default batch, of one guided denoising step, and of a closed form's whole run. The peer does the same work with PyTorch and diffusers. Device memory is the rise of nvidia-smi's figure, host memory the largest resident size.",
      "",
      `The floor is the larger of operations ÷ ${H200.operationsPerSecond / 1e12} TFLOP/s and bytes ÷ ${H200.bytesPerSecond / 1e12} TB/s: an H200's, in bfloat16, for the UNet alone.`,
      "",
      "| method | dtype | ours, s | per 1000 | evaluations | peer, s | peer / ours | device, ours / peer | host, ours / peer | TFLOP | GB | floor, s |",
      "|---|---|---|---|---|---|---|---|---|---|---|---|",
      ...methods.map(methodRow),
      "",
    );
  }
  if (failures.length > 0) {
    lines.push("## Not run, or failed", "");
    lines.push(...failures.map(({ name, message }) => `- ${name}: ${message}`), "");
  }
  return lines.join("\n");
}

function machineLines(machine: GpuMachine): string[] {
  const peer =
    machine.peer === null
      ? `none (${machine.peerMissing})`
      : Object.entries(machine.peer)
          .map(([name, version]) => `${name} ${version}`)
          .join(", ");
  return [
    `- ${machine.gpu ?? "no GPU"}; ${machine.cores} × ${machine.cpu}`,
    `- kpop-native ${machine.library}, libtorch ${machine.libtorch}, Node ${machine.node}`,
    `- peer: ${peer}`,
  ];
}

/** One line for each figure: the checkpoint whose error is larger. */
function worstOf(comparisons: readonly Comparison[]): Comparison[] {
  const byFigure = new Map<string, Comparison>();
  for (const each of comparisons) {
    const held = byFigure.get(each.what);
    if (held === undefined || !(each.error <= held.error)) byFigure.set(each.what, each);
  }
  return [...byFigure.values()];
}

function erasureRow(rates: ErasureRates): string {
  const { dtype, seconds, secondsPerPicture } = rates;
  const percent = ([rates.erased, rates.preserved, rates.back, rates.stay] as const).map((rate) =>
    (100 * rate).toFixed(1),
  );
  const figures = [...percent, seconds.toPrecision(3), (1000 * secondsPerPicture).toPrecision(3)];
  return `| ${[dtype, ...figures].join(" | ")} |`;
}

function unetRows({ dtype, ours, peer }: UNetResult): string[] {
  const milliseconds = (seconds: number | undefined): string =>
    seconds === undefined ? "–" : (1000 * seconds).toPrecision(3);
  return (["forward", "training"] as const).flatMap((of) =>
    Object.entries(ours?.[of] ?? {}).map(([batch, seconds]) => {
      const theirs = peer?.[of][batch];
      const ratio = theirs === undefined ? "–" : (theirs / seconds).toFixed(2);
      return `| ${dtype} | ${of} | ${batch} | ${milliseconds(seconds)} | ${milliseconds(theirs)} | ${ratio} |`;
    }),
  );
}

function methodRow({ method, dtype, ours, peer, cost }: MethodResult): string {
  const seconds = (timing: Timing | null): string => (timing === null ? "–" : timing.seconds.toPrecision(3));
  const size = (bytes: number | null | undefined): string =>
    bytes === null || bytes === undefined ? "–" : `${(bytes / 2 ** 30).toFixed(2)} GiB`;
  const both = (name: "deviceBytes" | "hostBytes"): string => `${size(ours?.[name])} / ${size(peer?.[name])}`;
  return [
    "",
    method,
    dtype,
    seconds(ours),
    ours?.of !== "iteration" ? "–" : `${(1000 * ours.seconds).toPrecision(3)} s`,
    ours === null || ours.of === "run" ? "–" : ours.evaluations.toFixed(1),
    seconds(peer),
    ours === null || peer === null ? "–" : (peer.seconds / ours.seconds).toFixed(2),
    both("deviceBytes"),
    both("hostBytes"),
    cost === null ? "–" : (cost.operations / 1e12).toPrecision(3),
    cost === null ? "–" : (cost.bytes / 1e9).toPrecision(3),
    cost === null ? "–" : floorSeconds(cost).toPrecision(3),
    "",
  ]
    .join(" | ")
    .trim();
}
