// Reads the description of a network that `packing.py` writes in front of its weights.
#pragma once

#include <memory>
#include <vector>

#include "packed.h"

namespace twins {

// A network whose weights lie in somebody else's memory. Throws std::runtime_error for memory that holds none.
class PackedNetwork {
 public:
  PackedNetwork(const uint8_t* memory, int64_t bytes);
  const Network& network() const { return whole; }

 private:
  Network whole;
  std::vector<Stage> stages;
  std::vector<std::vector<Block>> blocks;
  std::vector<std::unique_ptr<Linear[]>> sr;
};

}  // namespace twins
