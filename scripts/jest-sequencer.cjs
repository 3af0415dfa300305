const { default: TestSequencer } = require("@jest/test-sequencer");

/**
 * Starts the longest test files first: begun last, one keeps a worker busy while the others have nothing left to do. Where
 * jest has no times of an earlier run it goes by the size of files, and of these the content is elsewhere.
 */
const LONGEST = [
  "test/unit/erasure/methods.test.ts",
  "test/unit/erasure/methods-xl.test.ts",
  "test/package/package.test.ts",
  "test/unit/erasure/erase-frees.test.ts",
  "test/checkpoint/threads.test.ts",
];

module.exports = class LongestFirst extends TestSequencer {
  sort(tests) {
    const place = ({ path }) => {
      const found = LONGEST.findIndex((name) => path.endsWith(`/${name}`));
      return found < 0 ? LONGEST.length : found;
    };
    return super.sort(tests).sort((a, b) => place(a) - place(b));
  }
};
