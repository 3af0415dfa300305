import type { NativeAddon, NativeLoader, OpenedLibraries } from "../../typings/native";
import { KpopError } from "../errors";
import type { KpopErrorCode } from "../errors";
import { findAddonFiles } from "./addon-files";
import type { AddonFiles } from "./addon-files";
import { elfFault } from "./elf";
import { findLibtorch } from "./libtorch";
import type { FoundLibtorch } from "./libtorch";
import { diagnoseLinker } from "./linker-words";
import type { Refused } from "./linker-words";
import { outOfMemory } from "./out-of-memory";
import { checkPlatform } from "./platform";
import { replaceLibtorch } from "./remedies";

export type {
  NativeDtype,
  NativeModule,
  NativeModuleKind,
  NativeOptimizer,
  NativePrompt,
  NativeTensor,
  NativeUNetForward,
} from "../../typings/native";

let loaded: NativeAddon | undefined;

/**
 * The native addon, loaded on the first call of each thread: the loader, the libtorch it opens, then the addon itself.
 * @throws ADDON_MISSING, LIBTORCH_MISSING, LIBTORCH_INCOMPATIBLE
 */
export function addon(): NativeAddon {
  return (loaded ??= load());
}

/**
 * As `addon()`, but libtorch, most of what there is to load, is opened away from the JavaScript thread.
 * @throws ADDON_MISSING, LIBTORCH_MISSING, LIBTORCH_INCOMPATIBLE
 */
export async function addonReady(): Promise<NativeAddon> {
  if (loaded === undefined) {
    const { loader, libtorch } = find();
    checkLibtorch(await loader.openAsync(libtorch.libraries), loader, libtorch);
  }
  return addon();
}

function find(): { files: AddonFiles; loader: NativeLoader; libtorch: FoundLibtorch } {
  checkPlatform();
  const files = findAddonFiles();
  const loader = openLoader(files);
  return { files, loader, libtorch: findLibtorch({ version: loader.builtForTorch }) };
}

function load(): NativeAddon {
  const { files, loader, libtorch } = find();
  checkLibtorch(loader.open(libtorch.libraries), loader, libtorch);
  const native = openNative(files.addon) as NativeAddon;
  if (native.builtForTorch !== loader.builtForTorch) {
    throw new KpopError(
      "ADDON_MISSING",
      `${files.addon} was built for libtorch ${native.builtForTorch} but its loader for ${loader.builtForTorch}; run \`npm run build\` or reinstall the package`,
    );
  }
  native.initialize(({ code, message, operation }) => {
    if (code !== "OUT_OF_MEMORY") return new KpopError(code as KpopErrorCode, message, { operation });
    return new KpopError(code, outOfMemory(message, operation), { operation, cause: new Error(message) });
  });
  process.once("exit", () => native.shutDown());
  return native;
}

/** Opens the torch-free loader, which is safe without any libtorch. @throws LIBTORCH_INCOMPATIBLE */
export function openLoader(files: AddonFiles): NativeLoader {
  return openNative(files.loader) as NativeLoader;
}

function checkLibtorch(opened: OpenedLibraries, loader: NativeLoader, libtorch: FoundLibtorch): void {
  if (!opened.ok) throw refusal(opened.path, opened.message, libtorch);
  const version = opened.version ?? libtorch.version;
  if (version !== loader.builtForTorch) {
    throw new KpopError(
      "LIBTORCH_INCOMPATIBLE",
      `The libtorch at ${libtorch.directory} is ${version ?? "of an unknown version"} but kpop-native was built for ${loader.builtForTorch}; ${replaceLibtorch(libtorch)}`,
    );
  }
}

/** `process.dlopen` and not `require`: it keeps the linker's words and works the same from every module format. */
function openNative(path: string): unknown {
  checkNativeFile(path);
  const module: { exports: unknown } = { exports: {} };
  try {
    process.dlopen(module, path);
  } catch (error) {
    throw refusal(path, (error as Error).message, "addon");
  }
  return module.exports;
}

/** Opening a truncated library would end the process. @throws LIBTORCH_INCOMPATIBLE */
export function checkNativeFile(path: string): void {
  const fault = elfFault(path);
  if (fault !== null) throw refusal(path, fault, "addon");
}

function refusal(path: string, words: string, refused: Refused): KpopError {
  const { meaning, remedy } = diagnoseLinker(words, refused);
  return new KpopError("LIBTORCH_INCOMPATIBLE", `${path} cannot be loaded: ${meaning} (${words}); ${remedy}`);
}
