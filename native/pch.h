// Precompiled: the headers that cost seconds in every file. Files still include what they use.
#pragma once

#include <ATen/ATen.h>
#include <napi.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>
