#include "reader.h"

#include <cstring>
#include <stdexcept>

namespace twins {

namespace {

constexpr int64_t MAGIC = 0x31736e697774;  // "twins1"

// A cursor over 64-bit words; an array stands there as the place of its first byte.
class Words {
 public:
  Words(const uint8_t* memory, int64_t bytes) : memory(memory), bytes(bytes) {}

  int64_t word() {
    if (at + 8 > bytes) throw std::runtime_error("packed weights end too early");
    int64_t value;
    std::memcpy(&value, memory + at, sizeof value);
    at += 8;
    return value;
  }

  int number() { return static_cast<int>(word()); }

  float real() {
    const int64_t bits = word();
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return static_cast<float>(value);
  }

  template <class T = float> const T* array(int64_t count) {
    const int64_t place = word();
    if (place < 0 || count < 0 || place + count * int64_t(sizeof(T)) > bytes)
      throw std::runtime_error("packed weights are cut off");
    return count ? reinterpret_cast<const T*>(memory + place) : nullptr;
  }

 private:
  const uint8_t* memory;
  int64_t bytes, at = 0;
};

class NetworkReader : public Words {
 public:
  NetworkReader(const uint8_t* memory, int64_t bytes) : Words(memory, bytes) {
    if (word() != MAGIC) throw std::runtime_error("these are no packed weights of this version; freeze the model again");
  }

  Network network() {
    Network network = {};
    network.dtype = dtype = static_cast<Dtype>(word());
    network.in_chans = number();
    network.window = number();
    network.padding = static_cast<Padding>(word());
    network.depth = number();
    return network;
  }

  Stage stage() {
    Stage stage = {};
    stage.dim = number();
    stage.heads = number();
    stage.patch = number();
    stage.depth = number();
    stage.normed = number();
    stage.wanted = number();
    stage.embed = linear();
    stage.embed_norm = norm(stage.dim);
    stage.peg_weight = array(9 * stage.dim);
    stage.peg_bias = array(stage.dim);
    if (stage.normed) stage.norm = norm(stage.dim);
    return stage;
  }

  Block block(int dim, std::unique_ptr<Linear[]>& sr) {
    Block block = {};
    block.local = number();
    block.sr_ratio = number();
    block.norm1 = norm(dim);
    block.norm2 = norm(dim);
    if (block.local) {
      block.qkv = linear();
      block.q = columns(block.qkv, 0, dim);
      block.kv = columns(block.qkv, dim, 2 * dim);
    } else {
      block.q = linear();
      block.kv = linear();
      if (block.sr_ratio > 1) {
        sr.reset(new Linear[block.sr_ratio]);
        for (int i = 0; i < block.sr_ratio; i++) sr[i] = linear();
        block.sr = sr.get();
        block.sr_norm = norm(dim);
      }
    }
    block.proj = linear();
    block.fc1 = linear();
    block.fc2 = linear();
    return block;
  }

  Norm norm(int channels) {
    const float* gain = array(channels);
    const float* shift = array(channels);
    return {gain, shift, real()};
  }

  Linear linear() {
    Linear linear = {};
    linear.inputs = number();
    linear.outputs = number();
    const int64_t columns = (int64_t(linear.outputs) + PANEL - 1) / PANEL * PANEL;
    linear.weight = array<uint8_t>(columns * column_bytes(linear));
    linear.bias = array(number() ? columns : 0);
    if (dtype == Dtype::int8) {
      linear.column_scale = array(columns);
      linear.column_sum = array(columns);
    }
    return linear;
  }

 private:
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
    Stage stage = reader.stage();
    blocks.emplace_back();
    for (int i = 0; i < stage.depth; i++) {
      sr.emplace_back();
      blocks.back().push_back(reader.block(stage.dim, sr.back()));
    }
    stage.blocks = blocks.back().data();
    stages.push_back(stage);
  }
  whole.stages = stages.data();
  whole.classifies = reader.number();
  if (whole.classifies) {
    whole.norm = reader.norm(stages.back().dim);
    whole.head = reader.linear();
  }
}

}  // namespace twins
