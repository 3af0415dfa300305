/** What a terminal obeys in place of showing it, or shows in another place: control characters but the line end, and marks
 *  of direction and line. Names and texts of untrusted files may hold them. */
const UNSEEN = /[\0-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** Text as a terminal may be given it: what it would obey stands as JSON spells it, "\u001b". */
export function printable(text: string): string {
  return text.replace(UNSEEN, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** One JSON object as a line on stdout: the only thing there under --json. */
export function emit(event: object): void {
  process.stdout.write(`${printable(JSON.stringify(event))}\n`);
}

/** A result for people, on stdout. */
export function print(text: string): void {
  process.stdout.write(`${printable(text)}\n`);
}

/** Words on the way, on stderr. */
export function say(text: string): void {
  process.stderr.write(`${printable(text)}\n`);
}

/** Says the library's warnings as it says everything, in place of Node's form with process id and code. */
export function sayWarnings(): void {
  const others = process.listeners("warning");
  process.removeAllListeners("warning");
  process.on("warning", (warning: Error & { code?: string }) => {
    if (warning.code?.startsWith("KPOP_") === true) say(`warning: ${warning.message}`);
    else for (const listener of others) listener(warning);
  });
}
