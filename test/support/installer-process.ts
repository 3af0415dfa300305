import { runScript } from "./package-copy";
import type { Script } from "./package-copy";

/** A process that installs a runtime with these options; it prints its progress, then what came out, as JSON lines. */
export function installerProcess(packageRoot: string, options: object, env: NodeJS.ProcessEnv): Script {
  const code = `
    const { installRuntime } = require("./lib/runtime/install/install-runtime");
    const say = (object) => console.log(JSON.stringify(object));
    installRuntime({ ...${JSON.stringify(options)}, onProgress: say })
      .then(say, ({ code, message }) => say({ failed: code, message }));`;
  return runScript(packageRoot, code, { env: { KPOP_LIBTORCH: "", KPOP_TORCH_INDEX_URL: "", ...env } });
}

/** The last line of such a process. @throws when it said nothing */
export async function resultOf({ ended }: Script): Promise<Record<string, unknown>> {
  const { stdout, stderr } = await ended;
  const last = stdout.trim().split("\n").at(-1);
  if (!last) throw new Error(`the process said nothing: ${stderr}`);
  return JSON.parse(last) as Record<string, unknown>;
}
