#pragma once

#include "bindings/tensor_slot.h"

namespace kpop {

/** From now on the slot knows its tensor's gradient. Any thread. */
void watch_gradient(const SlotPtr& slot);

/** On the device's worker, at the end of work that changed gradients: brings every watched slot of the device
 *  up to date, so that the JavaScript thread need not ask the tensors, which the worker may be writing to. */
void record_gradients(at::Device device);

}  // namespace kpop
