#include "engine.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "denormals.h"
#include "instruction_sets.h"
#include "memory.h"
#include "reader.h"
#include "threads.h"

namespace twins {

namespace {

constexpr int MOST_IMAGES = 64;

// Images that a core takes at a time: so many that their maps fill its share of the caches, since more rows to a
// product mean that weights are read less often; and as many for every core.
int images_of_group(const Network& network, size_t group_bytes, int batch, int height, int width, int threads) {
  const Stage& first = network.stages[0];
  const size_t bytes = sizeof(float) * std::max(height / first.patch, 1) * std::max(width / first.patch, 1) * first.dim;
  const int fitting = int(std::clamp<size_t>(group_bytes / bytes, 1, MOST_IMAGES));
  const int rounds = (batch + fitting * threads - 1) / (fitting * threads);
  return (batch + rounds * threads - 1) / (rounds * threads);
}

struct Call {
  const Network& network;
  const Kernels& kernels;
  const float* images;
  int batch, height, width;
  float* const* outputs;
  std::vector<int64_t> output_sizes;

  // Images `first` up to `end`, by these workers.
  void group(int first, int end, const GroupMemory& memory, const Scratch* scratch, Workers& workers) const {
    std::vector<float*> parts(output_sizes.size());
    for (size_t i = 0; i < parts.size(); i++) parts[i] = outputs[i] + first * output_sizes[i];
    kernels.run_group({end - first, images + size_t(first) * network.in_chans * height * width, height, width, parts.data(), &network,
         memory, scratch, &workers});
  }
};

// Floats of each output that belong to one image.
std::vector<int64_t> sizes_of_outputs(const Network& network, int height, int width) {
  std::vector<int64_t> sizes;
  int64_t h = height, w = width;
  for (int s = 0; s < network.depth; s++) {
    const Stage& stage = network.stages[s];
    h = std::max<int64_t>(h / stage.patch, 1);
    w = std::max<int64_t>(w / stage.patch, 1);
    if (stage.wanted) sizes.push_back(h * w * stage.dim);
  }
  const int classes = network.head.outputs;
  if (network.classifies) sizes.push_back(classes ? classes : network.stages[network.depth - 1].dim);
  return sizes;
}

// A group of images a core while there are groups enough for all; what remains is shared by all cores.
void forward(const Call& call, int threads) {
  const DenormalsAreZero in_this_thread;  // the caller's own arithmetic stays as it was; helpers have theirs for good
  Team team(threads);
  Lent workspace;
  const Blocking& blocking = call.kernels.blocking;
  const int each =
      images_of_group(call.network, blocking.group_bytes, call.batch, call.height, call.width, team.size);
  const int groups = (call.batch + each - 1) / each, apart = groups / team.size * team.size;
  const auto end_of = [&](int group) { return std::min((group + 1) * each, call.batch); };
  (*workspace).prepare(call.network, {each, call.height, call.width}, blocking, team.size, apart > 0 ? team.size : 1);
  const Scratch* scratch = (*workspace).scratch.data();
  const std::vector<GroupMemory>& memory = (*workspace).groups;

  if (apart > 0) {
    const auto alone = [&](int group, int worker) {
      Alone workers(worker);
      call.group(group * each, end_of(group), memory[worker], scratch, workers);
    };
    team.run(apart, [](void* context, int group, int worker) { (*static_cast<decltype(alone)*>(context))(group, worker); },
             const_cast<void*>(static_cast<const void*>(&alone)));
  }
  for (int group = apart; group < groups; group++) call.group(group * each, end_of(group), memory[0], scratch, team);
}

const Kernels& kernels_for(Dtype dtype, const char* wanted) {
  return kernels_of(dtype, instruction_set_for(dtype, wanted));
}

// Seconds until every core of a team has done `work(worker)`.
template <class Work> double seconds_of_all(Team& team, Work work) {
  const auto started = std::chrono::steady_clock::now();
  team.run(team.size, [](void* context, int i, int) { (*static_cast<Work*>(context))(i); }, &work);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

// Runs `work`; a failure becomes a line of text and the status -1.
template <class Work> int guarded(char* error, int error_size, Work work) {
  try {
    work();
    return 0;
  } catch (const std::exception& failure) {
    std::snprintf(error, error_size, "%s", failure.what());
    return -1;
  }
}

}  // namespace

}  // namespace twins

const char* twins_instruction_sets() {
  static const std::string names = [] {
    std::string joined;
    for (const std::string& name : twins::instruction_sets()) joined += (joined.empty() ? "" : " ") + name;
    return joined;
  }();
  return names.c_str();
}

int twins_most_tokens_of_window() { return twins::MOST_TOKENS_OF_WINDOW; }

int twins_instruction_set(const char* wanted, int dtype, char* name, int name_size, char* error, int error_size) {
  return twins::guarded(error, error_size, [&] {
    const std::string found = twins::instruction_set_for(static_cast<twins::Dtype>(dtype), wanted);
    std::snprintf(name, name_size, "%s", found.c_str());
  });
}

int twins_forward(const uint8_t* packed, int64_t bytes, const char* instruction_set, int threads,
                  const float* images, int batch, int channels, int height, int width,
                  float* const* outputs, const int64_t* output_sizes, int output_count, char* error,
                  int error_size) {
  return twins::guarded(error, error_size, [&] {
    const twins::PackedNetwork packed_network(packed, bytes);
    const twins::Network& network = packed_network.network();
    const twins::Kernels& kernels = twins::kernels_for(network.dtype, instruction_set);
    const std::vector<int64_t> sizes = twins::sizes_of_outputs(network, height, width);
    if (channels != network.in_chans || sizes != std::vector<int64_t>(output_sizes, output_sizes + output_count))
      throw std::runtime_error("images or outputs are not of the shape that the packed network has");
    twins::forward({network, kernels, images, batch, height, width, outputs, sizes}, threads);
  });
}

int twins_time_product(const char* instruction_set, int dtype, const void* weight, const float* columns,
                       int inputs, int outputs, int repeats, int threads, int* rows, double* seconds,
                       char* error, int error_size) {
  return twins::guarded(error, error_size, [&] {
    const twins::Linear linear = {inputs, outputs, weight, columns, columns, columns};
    twins::Block block = {};
    block.sr_ratio = 1;
    twins::Stage stage = {};
    stage.dim = std::max(inputs, outputs);
    stage.heads = stage.patch = stage.depth = 1;
    stage.blocks = &block;
    twins::Network network = {};
    network.dtype = static_cast<twins::Dtype>(dtype);
    network.stages = &stage;
    network.depth = 1;

    const twins::Kernels& kernels = twins::kernels_for(network.dtype, instruction_set);
    *rows = kernels.blocking.most_rows;
    twins::Team team(threads);
    twins::Lent workspace;
    (*workspace).prepare(network, {1, 1, 1}, kernels.blocking, team.size, 1);
    *seconds = twins::seconds_of_all(team, [&](int worker) {
      kernels.run_product(linear, *rows, repeats, (*workspace).scratch[worker]);
    });
  });
}

int twins_time_peak(const char* instruction_set, int dtype, int repeats, int threads, int64_t* multiply_adds,
                    double* seconds, char* error, int error_size) {
  return twins::guarded(error, error_size, [&] {
    const twins::Kernels& kernels = twins::kernels_for(static_cast<twins::Dtype>(dtype), instruction_set);
    *multiply_adds = 0;
    if (!kernels.run_peak) return;
    twins::Team team(threads);
    std::vector<int64_t> done(team.size);
    *seconds = twins::seconds_of_all(team, [&](int worker) { done[worker] = kernels.run_peak(repeats); });
    for (int64_t part : done) *multiply_adds += part;
  });
}
