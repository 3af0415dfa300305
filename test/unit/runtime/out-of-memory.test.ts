import { outOfMemory } from "../../../lib/runtime/out-of-memory";

// As libtorch 2.13 says it.
const CPU =
  "conv2d: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 4398046511104 bytes. Error code 12 (Cannot allocate memory)";
const CUDA =
  "matmul: CUDA out of memory. Tried to allocate 20.50 GiB. GPU 0 has a total capacity of 79.18 GiB of which 1.25 GiB is free. Process 1 has 77.9 GiB memory in use. See documentation for Memory Management (https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)";

describe("outOfMemory", () => {
  it.each([
    ["conv2d", CPU, "conv2d: there is no memory for 4398046511104 bytes; take smaller"],
    ["matmul", CUDA, "matmul: there is no memory for 20.50 GiB (1.25 GiB is free); take smaller"],
    ["clone", "clone: the system refused the memory asked for", "clone: there is no memory; take smaller"],
  ])("says of %s what it asked for, and nothing in the allocator's words", (operation, message, start) => {
    const words = outOfMemory(message, operation);
    expect(words.startsWith(start)).toBe(true);
    expect(words).not.toMatch(/alloc|pytorch|CUDA/);
  });
});
