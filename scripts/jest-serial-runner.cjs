const { default: TestRunner } = require("jest-runner");

/** Runs its test files one after the other, when no other test runs. */
module.exports = class SerialRunner extends TestRunner {
  isSerial = true;
};
