import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium, type BrowserContext, type Page } from "playwright-core";
import { temporaryDirectory } from "./temporary-directory";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];

/** Nothing that a page does not ask for. */
const FLAGS = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
];

/** A page that is open, and what it said to the console, threw, or asked a network for. */
export interface OpenPage {
  readonly page: Page;
  readonly said: readonly string[];
}

/**
 * A suite on one page in a browser. Where there is no browser it is skipped, and fails under CI.
 * @param file of the page, asked for before the first test
 * @param suite its tests; what it is given is there once they run
 */
export function describeInBrowser(
  title: string,
  file: () => string | Promise<string>,
  suite: (open: () => OpenPage) => void,
): void {
  describe(title, () => {
    const browser = findBrowser();
    if (browser === null) {
      const why = "needs chromium (apt-get install chromium)";
      if (process.env["CI"] === "true") it(why, () => Promise.reject(new Error(`This test ${why}`)));
      else it.skip(why, () => undefined);
      return;
    }
    let context: BrowserContext;
    let open: OpenPage;
    beforeAll(async () => {
      context = await startBrowser(browser, temporaryDirectory());
      const page = await context.newPage();
      const said: string[] = [];
      page.on("console", (message) => said.push(message.text()));
      page.on("pageerror", (error) => said.push(error.message));
      page.on("request", (request) => {
        if (!/^(?:file|data):/.test(request.url())) said.push(request.url());
      });
      await page.goto(`file://${await file()}`);
      open = { page, said };
    });
    afterAll(() => context.close());
    suite(() => open);
  });
}

/** A browser of this machine; null where there is none. */
function findBrowser(): string | null {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  return NAMES.flatMap((name) => folders.map((folder) => join(folder, name))).find(runs) ?? null;
}

function runs(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Starts it without a window. @param profile an empty folder */
async function startBrowser(path: string, profile: string): Promise<BrowserContext> {
  return await chromium.launchPersistentContext(profile, {
    executablePath: path,
    headless: true,
    args: FLAGS,
  });
}
