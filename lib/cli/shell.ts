import { basename, relative } from "node:path";

/** How this program was called, for commands that are printed to be pasted. */
export function invocation(): string {
  const script = process.argv[1] ?? "";
  if (basename(script) !== "cli.js")
    return process.env["npm_command"] === "exec" ? "npx kpop-native" : "kpop-native";
  const short = relative("", script);
  return `node ${quote(short.startsWith("..") ? script : short)}`;
}

/** Words as a command line that a POSIX shell splits into them again. */
export function commandLine(...words: readonly string[]): string {
  return [invocation(), ...words.map(quote)].join(" ");
}

/** The command that is running, as the package's users type it. */
export function ownCommand(): string {
  return ["kpop-native", ...process.argv.slice(2).map(quote)].join(" ");
}

function quote(word: string): string {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word;
  // Double quotes are what people type; single quotes keep what double quotes would not.
  return /["$`\\!]/.test(word) ? `'${word.replaceAll("'", `'\\''`)}'` : `"${word}"`;
}
