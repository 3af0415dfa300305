import { KpopError } from "../../lib/index";
import { pocket } from "./pocket";
import type { Protocol } from "./protocol";
import { stableDiffusion } from "./stable-diffusion";

const PROTOCOLS: readonly Protocol[] = [pocket, stableDiffusion];

/** @throws INVALID_ARGUMENT listing those that exist */
export function protocolNamed(name: string): Protocol {
  const found = PROTOCOLS.find((protocol) => protocol.name === name);
  if (found !== undefined) return found;
  const names = PROTOCOLS.map((protocol) => protocol.name).join(", ");
  throw new KpopError("INVALID_ARGUMENT", `No protocol is named "${name}"; there are ${names}`);
}
