// Numbers too small for a full mantissa, which CPUs compute in microcode, several times as slowly as others.
#pragma once

#include <cstdint>

namespace twins {

// While this lives, the calling thread takes them for zero and makes none: below 1.2e-38 nothing changes a prediction.
class DenormalsAreZero {
 public:
  DenormalsAreZero() : before(control()) { set_control(before | FLUSH); }
  ~DenormalsAreZero() { set_control(before); }
  DenormalsAreZero(const DenormalsAreZero&) = delete;

 private:
#if defined(__x86_64__)
  typedef uint32_t Control;
  static constexpr Control FLUSH = 0x8040;  // results (FTZ) and operands (DAZ)
  static Control control() { return __builtin_ia32_stmxcsr(); }
  static void set_control(Control control) { __builtin_ia32_ldmxcsr(control); }
#elif defined(__aarch64__)
  typedef uint64_t Control;
  static constexpr Control FLUSH = 1 << 24;  // both (FZ)
  static Control control() {
    Control control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    return control;
  }
  static void set_control(Control control) { __asm__ volatile("msr fpcr, %0" : : "r"(control)); }
#else
  typedef uint32_t Control;
  static constexpr Control FLUSH = 0;
  static Control control() { return 0; }
  static void set_control(Control) {}
#endif

  const Control before;
};

}  // namespace twins
