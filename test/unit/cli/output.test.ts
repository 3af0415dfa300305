import { emit, print, printable, say } from "../../../lib/cli/output";

const RAW = 'a\x1b[2J\0b\x9b1m\x7f\u202e"\u2028c\r\td\nö 🐶';
const SHOWN = 'a\\u001b[2J\\u0000b\\u009b1m\\u007f\\u202e"\\u2028c\\u000d\\u0009d\nö 🐶';

describe("text for a terminal", () => {
  afterEach(() => jest.restoreAllMocks());

  it("shows what a terminal would obey, and leaves line ends and every other character", () => {
    expect(printable(RAW)).toBe(SHOWN);
  });

  it("is all that leaves the program, on both streams; as JSON it still means the same", () => {
    const written = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const)
      jest.spyOn(process[name], "write").mockImplementation((text) => {
        written[name] += String(text);
        return true;
      });
    print(RAW);
    say(RAW);
    expect(written).toEqual({ stdout: `${SHOWN}\n`, stderr: `${SHOWN}\n` });
    written.stdout = "";
    emit({ text: RAW });
    expect(written.stdout).toBe(`${printable(written.stdout)}`);
    expect(JSON.parse(written.stdout)).toEqual({ text: RAW });
  });
});
