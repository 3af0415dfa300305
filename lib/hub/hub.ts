import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { KpopError } from "../errors";

type HubLibrary = typeof import("@huggingface/hub");

/** The hub, as this process is set up for it: by the environment variables that Python's huggingface_hub reads. */
export interface Hub {
  readonly library: HubLibrary;
  /** HF_ENDPOINT, without a slash at the end. */
  readonly endpoint: string;
  /** Folder of the cache: HF_HUB_CACHE, or hub/ in HF_HOME. */
  readonly cache: string;
  /** HF_HUB_OFFLINE: no request is made. */
  readonly offline: boolean;
  /** HF_TOKEN, or what `hf auth login` left in its file. */
  readonly token: string | null;
}

/** @throws PACKAGE_MISSING where @huggingface/hub is not installed; INVALID_ARGUMENT on an endpoint or a token that is none */
export async function openHub(): Promise<Hub> {
  const library = await loadLibrary();
  return {
    library,
    endpoint: endpoint(library.HUB_URL),
    cache: withHome(library.getHFHubCachePath()),
    offline: isSet("HF_HUB_OFFLINE") || isSet("TRANSFORMERS_OFFLINE"),
    token: isSet("HF_HUB_DISABLE_IMPLICIT_TOKEN") ? null : await readToken(),
  };
}

async function loadLibrary(): Promise<HubLibrary> {
  try {
    return await import("@huggingface/hub");
  } catch (cause) {
    throw new KpopError(
      "PACKAGE_MISSING",
      "Models of the hub (hf:user/name) need the package @huggingface/hub, which is not installed here; install it beside kpop-native (npm install @huggingface/hub), or download the model and give its folder",
      { cause },
    );
  }
}

function endpoint(standard: string): string {
  const given = process.env["HF_ENDPOINT"] || standard;
  const url = URL.canParse(given) ? new URL(given) : null;
  // A name and password in it would come into messages.
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "")
    throw new KpopError(
      "INVALID_ARGUMENT",
      "Expected HF_ENDPOINT to be a URL (https://…) without name and password",
    );
  return given.replace(/\/+$/, "");
}

/** As huggingface_hub reads it: line ends and blanks around it are no part of it. */
async function readToken(): Promise<string | null> {
  const { HF_TOKEN, HUGGING_FACE_HUB_TOKEN, HF_TOKEN_PATH, HF_HOME, XDG_CACHE_HOME } = process.env;
  const home = HF_HOME ?? join(XDG_CACHE_HOME ?? join(homedir(), ".cache"), "huggingface");
  const file = withHome(HF_TOKEN_PATH ?? join(home, "token"));
  const given = HF_TOKEN || HUGGING_FACE_HUB_TOKEN || (await readFile(file, "utf8").catch(() => ""));
  const token = given.replace(/[\r\n]/g, "").trim();
  // `fetch` would repeat it in its complaint.
  if (!/^[\x21-\x7e]*$/.test(token))
    throw new KpopError(
      "INVALID_ARGUMENT",
      "Expected the token of the hub (HF_TOKEN, or the file of a login) to be letters, digits and signs without blanks, but it has others",
    );
  return token === "" ? null : token;
}

function withHome(path: string): string {
  return path.replace(/^~(?=\/|$)/, homedir());
}

function isSet(variable: string): boolean {
  return /^(?:1|on|yes|true)$/i.test(process.env[variable] ?? "");
}
