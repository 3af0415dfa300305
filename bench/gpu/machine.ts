import { spawnSync } from "node:child_process";
import { doctor } from "../../lib/index";
import { machine } from "../machine";
import { examinePeer } from "../peer";
import type { GpuMachine } from "./results";

/**
 * Where and with what this runs.
 * @param withPeer whether the peer is asked for
 * @throws Error with what the doctor found wrong
 */
export async function examineMachine(withPeer: boolean): Promise<GpuMachine> {
  const report = await doctor();
  const fault = report.checks.find(({ ok }) => !ok);
  if (fault !== undefined) throw new Error(`${fault.name}: ${fault.found}. ${fault.remedy ?? ""}`);
  const peer = withPeer ? examinePeer(["torch", "diffusers"]) : { missing: "not asked for" };
  return {
    ...machine(),
    gpu: gpuName(),
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
