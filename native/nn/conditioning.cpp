#include "conditioning.h"

#include <ATen/ops/cat.h>

#include <algorithm>

namespace kpop::nn {
namespace {

/** The prompt's rows for every item of the batch: (B, rows, d). */
Tensor batched(const Tensor& value, const Tensor& text) {
  check_argument(value.defined() && (value.dim() == 2 || value.dim() == 3),
                 "Expected the prompt to have shape (rows, width) or (batch, rows, width) but received ",
                 value.defined() ? c10::str(value.sizes()) : "no tensor");
  const auto rows = (value.dim() == 2 ? value.unsqueeze(0) : value).to(text.scalar_type());
  check_argument(rows.size(2) == text.size(2), "Expected the prompt's width to be ", text.size(2),
                 " but received ", rows.size(2));
  check_argument(rows.size(0) == 1 || rows.size(0) == text.size(0), "Expected the prompt's batch to be 1 or ",
                 text.size(0), " but received ", rows.size(0));
  return rows.expand({text.size(0), -1, -1});
}

Tensor inject(const Tensor& text, const Prompt& prompt) {
  const auto rows = batched(prompt.value, text);
  if (prompt.mechanism == Prompt::Mechanism::concat) return at::cat({text, rows}, 1);
  check_argument(rows.size(1) == text.size(1), "Expected an additive prompt of ", text.size(1),
                 " rows, one for each of the text's, but received ", rows.size(1));
  return text + rows;
}

}  // namespace

Conditioning::Conditioning(const std::vector<std::string>& names, Tensor text, const Prompt* prompt)
    : text_(std::move(text)), prompted_sites_(names.size(), false) {
  if (prompt == nullptr) return;
  check_argument(!prompt->layers.empty(), "Expected the prompt to name at least one layer but received none");
  for (const auto& layer : prompt->layers) {
    const auto found = std::find(names.begin(), names.end(), layer);
    check_argument(found != names.end(), "Expected the prompt's layers to be among ", names.size(),
                   " cross-attention layers such as \"", names.front(), "\" and \"", names.back(),
                   "\" but received \"", layer, "\"");
    prompted_sites_[found - names.begin()] = true;
  }
  prompted_ = inject(text_, *prompt);
}

}  // namespace kpop::nn
