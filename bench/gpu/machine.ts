import { spawnSync } from "node:child_process";
import { cpus } from "node:os";
import { doctor } from "../../lib/index";
import { version } from "../../package.json";
import { examinePeer } from "./peer";
import type { Machine } from "./results";

/**
 * Where and with what this runs.
 * @param python of the peer; null where none is asked for
 * @throws Error with what the doctor found wrong
 */
export async function examineMachine(python: string | null): Promise<Machine> {
  const report = await doctor();
  const fault = report.checks.find(({ ok }) => !ok);
  if (fault !== undefined) throw new Error(`${fault.name}: ${fault.found}. ${fault.remedy ?? ""}`);
  const peer = python === null ? { missing: "not asked for" } : examinePeer(python);
  const [cpu] = cpus();
  return {
    processor: cpu?.model.trim() ?? "unknown processor",
    processors: cpus().length,
    gpu: gpuName(),
    node: report.node,
    "kpop-native": version,
    libtorch: `${report.libtorch?.version ?? "?"} (${report.libtorch?.flavour ?? "?"})`,
    peer: "versions" in peer ? peer.versions : null,
    peerMissing: "missing" in peer ? peer.missing : null,
  };
}

function gpuName(): string | null {
  const query = ["--query-gpu=name,driver_version", "--format=csv,noheader", "-i", "0"];
  const { status, stdout } = spawnSync("nvidia-smi", query, { encoding: "utf8" });
  return status === 0 ? stdout.trim().replace(", ", ", driver ") : null;
}
