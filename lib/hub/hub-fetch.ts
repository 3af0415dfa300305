import { KpopError, throwIfAborted } from "../errors";
import { VERSION } from "../version";
import type { Hub } from "./hub";
import { formatHubName, type HubName } from "./hub-name";

/** What a server's own words may take of a message. */
const TOLD = 200;

/**
 * `fetch` for requests about one name. The token goes to the hub alone: it is set here, for its origin, and `fetch` drops it
 * where a redirect leads to another. What the hub refuses comes out as a `KpopError` that says what to do.
 */
export function hubFetch(hub: Hub, name: HubName, signal: AbortSignal | undefined): typeof fetch {
  const { origin } = new URL(hub.endpoint);
  return async (input, init = {}) => {
    throwIfAborted(signal);
    const headers = new Headers(init.headers);
    headers.set("user-agent", `kpop-native/${VERSION}`);
    const url = input instanceof Request ? input.url : input;
    if (hub.token !== null && new URL(url).origin === origin)
      headers.set("authorization", `Bearer ${hub.token}`);
    const signals = [signal, init.signal].flatMap((one) => one ?? []);
    const request = { ...init, headers, signal: AbortSignal.any(signals) };
    const response = await fetch(input, request).catch((error: unknown) => {
      throwIfAborted(signal);
      throw unreachable(hub, error);
    });
    if (response.ok) return response;
    const { status } = response;
    const words = wordsOf(response.headers, hub);
    const code = response.headers.get("x-error-code") ?? "";
    await response.body?.cancel().catch(() => undefined);
    // Its storage knows no token: what it refuses is an address that is no longer good, and the hub gives another.
    if (new URL(response.url).origin !== origin)
      throw new KpopError(
        "NETWORK_ERROR",
        `The storage that ${hub.endpoint} leads to refused ${formatHubName(name)} (status ${status}); try again later`,
      );
    throw refusal(hub, name, { status, code, words });
  };
}

/** What `fetch` throws where no answer came, or it broke off. */
export function unreachable({ endpoint }: Hub, cause: unknown): KpopError {
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
  const reason = (inner as NodeJS.ErrnoException).code ?? (inner as Error).message;
  return new KpopError(
    "NETWORK_ERROR",
    `The connection to ${endpoint} failed (${reason}); try again, or work offline with what is in the cache (HF_HUB_OFFLINE=1)`,
    { cause },
  );
}

interface Refused {
  status: number;
  /** The hub's own: "GatedRepo". */
  code: string;
  /** What it says to it, with a blank before, or nothing. */
  words: string;
}

function refusal(hub: Hub, name: HubName, { status, code, words }: Refused): KpopError {
  const { repository, revision, path } = name;
  const { host } = new URL(hub.endpoint);
  const login = "give one in HF_TOKEN, or by `hf auth login`";
  const denied = (why: string): KpopError => new KpopError("ACCESS_DENIED", `${why}${words}`);
  const missing = (what: string): KpopError => new KpopError("NOT_FOUND", `${what}${words}`);
  if (code === "GatedRepo") {
    const account =
      hub.token === null ? `a token of an account that did; ${login}` : "the token of that account";
    return denied(
      `${repository} is gated: its terms have to be accepted on ${hub.endpoint}/${repository}, and it takes ${account}`,
    );
  }
  if (status === 401)
    return denied(
      hub.token === null
        ? `${repository} is not on ${host}, or is private: look at the name, or use a token that may read it; ${login}`
        : `${host} does not take the token for ${repository} (401): it is expired or wrong, or ${repository} does not exist; ${login}`,
    );
  if (status === 403)
    return denied(`The ${hub.token === null ? "request" : "token"} may not do that with ${repository} (403)`);
  if (status === 404) {
    if (code === "RevisionNotFound") return missing(`${repository} has no revision ${revision}`);
    if (code === "EntryNotFound")
      return missing(`There is no ${path} in ${formatHubName({ ...name, path: "" })}`);
    return missing(`There is no ${repository} on ${host}, or the token may not see it`);
  }
  if (status === 429 || status >= 500)
    return new KpopError(
      "NETWORK_ERROR",
      `${host} does not answer now (status ${status}); try again later${words}`,
    );
  return new KpopError(
    "IO_ERROR",
    `${host} refused the request for ${formatHubName(name)} (status ${status})${words}`,
  );
}

/** A server that repeats what it was sent is not to bring the token into a message. */
function wordsOf(headers: Headers, { token }: Hub): string {
  const words = (headers.get("x-error-message") ?? "").replaceAll(token ?? "\0", "***").slice(0, TOLD);
  return words === "" ? "" : ` (the hub says: ${words})`;
}
