#include "memory.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <new>

namespace twins {

namespace {

constexpr size_t HUGE_PAGE = size_t(2) << 20;

// The widest things that a scratch must hold.
struct Widths {
  size_t inputs = 0, hidden = 0, qkv = 0, head = 0;

  explicit Widths(const Network& network) {
    for (int s = 0; s < network.depth; s++) {
      const Stage& stage = network.stages[s];
      const size_t dim = size_t(stage.dim);
      inputs = std::max({inputs, dim, size_t(stage.embed.inputs)});
      qkv = std::max({qkv, 3 * dim, size_t(stage.embed.inputs)});
      head = std::max(head, dim / stage.heads);
      for (int i = 0; i < stage.depth; i++) {
        inputs = std::max(inputs, size_t(stage.blocks[i].sr_ratio) * dim);
        for (int piece = 0; piece < stage.blocks[i].pieces; piece++)
          hidden = std::max(hidden, size_t(stage.blocks[i].fc2[piece].inputs));
      }
    }
  }
};

struct MapSizes {
  size_t map = 0, key_values = 0, windows = 0, channels = 0, shared = 0;  // of one image

  MapSizes(const Network& network, size_t height, size_t width) {
    for (int s = 0; s < network.depth; s++) {
      const Stage& stage = network.stages[s];
      height = std::max<size_t>(height / stage.patch, 1);
      width = std::max<size_t>(width / stage.patch, 1);
      channels = stage.dim;
      map = std::max(map, height * width * channels);
      if (height * width <= MOST_SHARED_ROWS) shared = std::max(shared, (4 * height * width + ROW_BLOCK) * channels);
      for (int i = 0; i < stage.depth; i++) {
        const size_t ratio = stage.blocks[i].sr_ratio;
        const size_t keys = std::max<size_t>(height / ratio, 1) * std::max<size_t>(width / ratio, 1);
        key_values = std::max(key_values, keys * 2 * channels);
      }
      const size_t side = std::max(network.window, 1);
      windows = std::max(windows, ((height + side - 1) / side) * ((width + side - 1) / side));
    }
  }
};

std::mutex guard;

// fork() waits until nobody holds the lock, for in the child it would stay locked.
[[maybe_unused]] const int registered =
    pthread_atfork([] { guard.lock(); }, [] { guard.unlock(); }, [] { guard.unlock(); });

std::vector<std::unique_ptr<Workspace>> idle;

}  // namespace

void Arena::Free::operator()(void* memory) const { std::free(memory); }

void Arena::reserve(size_t bytes) {
  const size_t needed = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
  if (needed > size) {
    memory.reset();
    memory.reset(static_cast<uint8_t*>(std::aligned_alloc(HUGE_PAGE, needed)));
    if (!memory) throw std::bad_alloc();
    size = needed;
#ifdef MADV_HUGEPAGE
    madvise(memory.get(), size, MADV_HUGEPAGE);
#endif
  }
  next = memory.get();
}

void Workspace::prepare(const Network& network, const GroupSize& size, const Blocking& blocking, int workers,
                        int group_count) {
  const Widths widths(network);
  const MapSizes maps(network, size.height, size.width);
  const bool quantised = network.dtype == Dtype::int8;
  const size_t row_count = (blocking.most_rows + ROW_BLOCK - 1) / ROW_BLOCK * ROW_BLOCK;  // products read whole blocks
  const auto floats_of = [&](size_t columns, size_t element) {  // of rows with such elements, see `stride_of`
    return row_count * ((columns * element + LINE - 1) / LINE + 1) * (LINE / sizeof(float));
  };
  const size_t qkv = floats_of(widths.qkv, sizeof(float)), head = widths.head, images = size.images;

  const auto lay_out = [&](auto take) {
    const auto rows = [&](size_t columns) -> RowScratch {
      float* data = take(floats_of(columns, blocking.activation));
      if (!quantised) return {.data = data, .exact = nullptr, .scales = nullptr, .zeros = nullptr};
      return {.data = data, .exact = take(floats_of(columns, sizeof(float))), .scales = take(row_count),
              .zeros = take(row_count)};
    };
    scratch.clear();
    for (int worker = 0; worker < workers; worker++)
      scratch.push_back({.rows = rows(widths.inputs), .hidden = rows(widths.hidden), .qkv = take(qkv),
                         .keys = take(KEY_BLOCK * head), .values = take(2 * KEY_BLOCK * head),
                         .scores = take(3 * QUERY_BLOCK * KEY_BLOCK), .outputs = take(row_count * head),
                         .products = take(QUERY_BLOCK * head), .most = take(row_count), .total = take(row_count)});
    groups.clear();
    for (int group = 0; group < group_count; group++)
      groups.push_back({.map = take(maps.map * images), .other_map = take(maps.map * images),
                        .key_values = take(maps.key_values * images), .pooled = take(maps.channels * images),
                        .shared = take(maps.shared),
                        .passes = reinterpret_cast<int*>(take(maps.windows * images + 1))});
  };
  size_t bytes = 0;
  lay_out([&](size_t floats) -> float* {
    bytes += Arena::padded(floats);
    return nullptr;
  });
  arena.reserve(bytes);
  lay_out([&](size_t floats) { return arena.take(floats); });
}

Lent::Lent() {
  std::lock_guard<std::mutex> lock(guard);
  if (idle.empty()) {
    workspace = std::make_unique<Workspace>();
  } else {
    workspace = std::move(idle.back());
    idle.pop_back();
  }
}

Lent::~Lent() {
  std::lock_guard<std::mutex> lock(guard);
  idle.push_back(std::move(workspace));
}

}  // namespace twins
