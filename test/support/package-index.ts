import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { basename } from "node:path";

export interface PackageIndex {
  url: string;
  /** The paths that were asked for. */
  requests: string[];
  close(): Promise<void>;
}

/**
 * A package index (PEP 503) on this machine with one wheel of torch, whose SHA-256 it gives.
 * @param served what is sent in the place of the wheel's bytes; default: the bytes
 */
export async function packageIndex(
  wheel: string,
  served: (bytes: Buffer) => Buffer = (bytes) => bytes,
): Promise<PackageIndex> {
  const bytes = readFileSync(wheel);
  const name = encodeURIComponent(basename(wheel));
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const requests: string[] = [];
  const server = createServer(({ url = "" }, response) => {
    requests.push(url);
    if (url.endsWith(".whl")) return void response.end(served(bytes));
    if (url !== "/simple/torch/") return void response.writeHead(404).end();
    response.setHeader("content-type", "text/html");
    response.end(`<!DOCTYPE html><a href="/files/${name}#sha256=${sha256}">${basename(wheel)}</a>`);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/simple`,
    requests,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
