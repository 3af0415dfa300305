import type { FoundLibtorch } from "./libtorch";

/** For native files of the package that cannot be used. */
export const REPLACE_ADDON = "reinstall the package, or run `npm run build` in a checkout";

/** What puts another libtorch in the place of one that cannot be used, by where that one was found. */
export function replaceLibtorch({ source, flavour }: Pick<FoundLibtorch, "source" | "flavour">): string {
  const install = `\`npx kpop-native install-runtime ${flavour === "cuda" ? "--cuda " : ""}--force\``;
  switch (source) {
    case "KPOP_LIBTORCH":
      return "point KPOP_LIBTORCH at another libtorch, or unset it";
    case "runtime":
      return `run ${install}`;
    case "python":
      return `reinstall torch in that Python, or run ${install}, which goes before it`;
    case "system":
      return `run ${install}, which goes before it`;
  }
}
