// Reads the description of a network that `packing.py` writes in front of its weights.
#pragma once

#include <vector>

#include "packed.h"

namespace twins {

// Matrices that stand in a list: the rows of a convolution's kernel, the pieces of a layer.
typedef std::vector<std::vector<Linear>> LinearLists;

// A network whose weights lie in somebody else's memory. Throws std::runtime_error for memory that holds none.
class PackedNetwork {
 public:
  PackedNetwork(const uint8_t* memory, int64_t bytes);
  const Network& network() const { return whole; }

 private:
  Network whole;
  std::vector<Stage> stages;
  std::vector<std::vector<Block>> blocks;
  LinearLists lists;
};

}  // namespace twins
