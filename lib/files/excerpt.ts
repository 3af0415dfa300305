const LONGEST = 100;

/** Text of a file as a message quotes it: its first 100 characters, and a mark where there were more. */
export function excerpt(text: string): string {
  return text.length <= LONGEST ? text : `${text.slice(0, LONGEST)}… (${text.length} characters)`;
}
