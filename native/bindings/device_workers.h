#pragma once

#include <c10/core/Device.h>

#include "bindings/worker.h"

namespace kpop {

/** The one worker of a device, started on first use. Workers live as long as the process. */
Worker& worker_of(c10::Device device);

/** Waits until everything queued so far, on every device, has run. */
void drain_workers();

}  // namespace kpop
