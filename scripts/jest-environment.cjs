const { TestEnvironment } = require("jest-environment-node");

/**
 * Lets go of the add-on with each test file. It is loaded for a file alone and stays in the process; what it holds of the
 * file keeps all of the file's modules in memory, and with gigabytes of them every garbage collection takes a second.
 */
module.exports = class AddonEnvironment extends TestEnvironment {
  loaded = [];

  async setup() {
    await super.setup();
    const { dlopen } = this.global.process;
    this.global.process.dlopen = (module, ...rest) => {
      dlopen(module, ...rest);
      this.loaded.push(module.exports);
    };
  }

  async teardown() {
    for (const addon of this.loaded) {
      // A function of this realm in place of the file's.
      addon.initialize?.(({ message }) => new Error(message));
      addon.shutDown?.();
    }
    this.loaded = [];
    await super.teardown();
  }
};
