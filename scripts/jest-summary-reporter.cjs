/** Ends jest's output with one plain line, so that programs need not read the summary that is made for people. */
module.exports = class SummaryReporter {
  onRunComplete(_contexts, results) {
    // A file that could not run at all counts as one failure: its tests are in no other figure.
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    const skipped = results.numPendingTests + results.numTodoTests;
    const tail = skipped === 0 ? "" : `, ${skipped} skipped`;
    // jest prints its own summary after every other reporter's, so the line waits for the end of the process.
    process.once("exit", () =>
      process.stdout.write(`${results.numPassedTests} passed, ${failed} failed${tail}\n`),
    );
  }
};
