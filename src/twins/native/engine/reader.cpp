#include "reader.h"

#include <cstring>
#include <stdexcept>

namespace twins {

namespace {

// A cursor over 64-bit words; an array stands there as the offset of its first byte.
class Words {
 public:
  Words(const uint8_t* memory, int64_t bytes) : memory(memory), bytes(bytes) {}

  int64_t word() {
    if (bytes - at < 8) throw std::runtime_error("packed weights end too early");
    int64_t value;
    std::memcpy(&value, memory + at, sizeof value);
    at += 8;
    return value;
  }

  float real() {
    const int64_t bits = word();
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return static_cast<float>(value);
  }

  template <class T = float> const T* array(int64_t count) {
    const int64_t offset = word();
    if (offset < 0 || offset > bytes || count > (bytes - offset) / int64_t(sizeof(T)))
      throw std::runtime_error("packed weights are cut off");
    return count ? reinterpret_cast<const T*>(memory + offset) : nullptr;
  }

 private:
  const uint8_t* memory;
  int64_t bytes, at = 0;
};

void require(bool holds) {
  if (!holds) throw std::runtime_error("packed weights contradict themselves");
}

// Reads part after part and holds each to those before it: whatever it returns can be computed with.
class NetworkReader : public Words {
 public:
  NetworkReader(const uint8_t* memory, int64_t bytes) : Words(memory, bytes) {
    if (word() != MAGIC) throw std::runtime_error("these are no packed weights of this version; freeze the model again");
  }

  Network network() {
    Network network = {};
    network.dtype = dtype = static_cast<Dtype>(from_to(0, 2));
    network.in_chans = from_to(1, MOST_CHANNELS);
    network.window = from_to(0, MOST_TOKENS_OF_WINDOW);
    require(network.window * network.window <= MOST_TOKENS_OF_WINDOW);
    network.padding = static_cast<Padding>(from_to(0, 2));
    network.depth = from_to(1, 16);
    return network;
  }

  // `channels` of the map before; 0 for images, whose channels the network knows.
  Stage stage(const Network& network, int channels) {
    Stage stage = {};
    stage.dim = from_to(PANEL, MOST_CHANNELS);
    stage.heads = from_to(1, stage.dim);
    stage.patch = from_to(1, 64);
    stage.depth = from_to(0, 1000);
    require(stage.dim % PANEL == 0 && stage.dim % (PANEL * stage.heads) == 0);
    stage.normed = from_to(0, 1);
    stage.wanted = from_to(0, 1);
    const int inputs = stage.patch * stage.patch * (channels ? channels : network.in_chans);
    require(inputs % PANEL == 0);
    stage.embed = linear(inputs, stage.dim);
    stage.embed_norm = norm(stage.dim);
    stage.peg_weight = array(9 * stage.dim);
    stage.peg_bias = array(stage.dim);
    if (stage.normed) stage.norm = norm(stage.dim);
    return stage;
  }

  Block block(const Network& network, int dim, LinearLists& lists) {
    Block block = {};
    block.local = from_to(0, 1);
    require(!block.local || network.window > 0);
    block.sr_ratio = from_to(1, block.local ? 1 : 64);
    block.norm1 = norm(dim);
    block.norm2 = norm(dim);
    if (block.local) {
      block.qkv = linear(dim, 3 * dim);
      block.q = columns(block.qkv, 0, dim);
      block.kv = columns(block.qkv, dim, 2 * dim);
    } else {
      block.q = linear(dim, dim);
      block.kv = linear(dim, 2 * dim);
      if (block.sr_ratio > 1) {
        std::vector<Linear>& sr = lists.emplace_back();
        for (int i = 0; i < block.sr_ratio; i++) sr.push_back(linear(block.sr_ratio * dim, dim, i == 0));
        block.sr = sr.data();
        block.sr_norm = norm(dim);
      }
    }
    block.proj = linear(dim, dim);
    block.fc1 = linear(dim, ANY);
    block.pieces = from_to(1, MOST_CHANNELS);
    std::vector<Linear>& fc2 = lists.emplace_back();
    int hidden = 0;
    for (int i = 0; i < block.pieces; i++) {
      fc2.push_back(linear(ANY, dim, i == 0));
      require(fc2[i].inputs % PANEL == 0 && fc2[i].inputs <= block.fc1.outputs - hidden);
      hidden += fc2[i].inputs;
    }
    require(hidden == block.fc1.outputs);
    block.fc2 = fc2.data();
    return block;
  }

  Norm norm(int channels) {
    const float* weight = array(channels);
    const float* bias = array(channels);
    return {weight, bias, real()};
  }

  // The last layer: as many outputs as there are classes, or none.
  Linear head(int inputs) { return linear(inputs, ANY, false); }

  int from_to(int64_t least, int64_t most) {
    const int64_t value = word();
    require(least <= value && value <= most);
    return static_cast<int>(value);
  }

 private:
  static constexpr int ANY = -1, MOST_CHANNELS = 1 << 16, MOST_OUTPUTS = 1 << 24;

  Linear linear(int inputs, int outputs, bool needs_bias = true) {
    Linear linear = {};
    linear.inputs = from_to(1, MOST_OUTPUTS);
    linear.outputs = from_to(0, MOST_OUTPUTS);
    require((inputs == ANY || linear.inputs == inputs) && (outputs == ANY || linear.outputs == outputs));
    const int64_t padded = (int64_t(linear.outputs) + PANEL - 1) / PANEL * PANEL;
    linear.weight = array<uint8_t>(padded * column_bytes(linear));
    const bool has_bias = from_to(0, 1);
    require(has_bias || !needs_bias);
    linear.bias = array(has_bias ? padded : 0);
    if (dtype == Dtype::int8) {
      linear.column_scale = array(padded);
      linear.column_sum = array(padded);
    }
    return linear;
  }

  int64_t column_bytes(const Linear& linear) const {
    const int64_t inputs = linear.inputs;
    if (dtype == Dtype::fp32) return inputs * 4;
    if (dtype == Dtype::bf16) return (inputs + 1) / 2 * 4;
    return (inputs + 3) / 4 * 4;
  }

  // Some columns of a matrix, as a matrix; both numbers are multiples of PANEL.
  Linear columns(const Linear& whole, int first, int count) const {
    Linear part = whole;
    part.outputs = count;
    part.weight = static_cast<const uint8_t*>(whole.weight) + first * column_bytes(whole);
    part.bias += first;
    if (dtype == Dtype::int8) {
      part.column_scale += first;
      part.column_sum += first;
    }
    return part;
  }

  Dtype dtype;
};

}  // namespace

PackedNetwork::PackedNetwork(const uint8_t* memory, int64_t bytes) {
  NetworkReader reader(memory, bytes);
  whole = reader.network();
  for (int s = 0; s < whole.depth; s++) {
    Stage stage = reader.stage(whole, s ? stages.back().dim : 0);
    blocks.emplace_back();
    for (int i = 0; i < stage.depth; i++) blocks.back().push_back(reader.block(whole, stage.dim, lists));
    stage.blocks = blocks.back().data();
    stages.push_back(stage);
  }
  whole.stages = stages.data();
  whole.classifies = reader.from_to(0, 1);
  if (whole.classifies) {
    whole.norm = reader.norm(stages.back().dim);
    whole.head = reader.head(stages.back().dim);
  }
}

}  // namespace twins
