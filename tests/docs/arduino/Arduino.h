// A stand-in of what the sketch of docs/for-devices.md uses of Arduino: enough to run it on Linux.
#pragma once
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

inline unsigned long millis() {
  static const auto began = std::chrono::steady_clock::now();
  auto passed = std::chrono::steady_clock::now() - began;
  return std::chrono::duration_cast<std::chrono::milliseconds>(passed).count();
}
inline void delay(unsigned long ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

struct SerialPort {
  void begin(unsigned long) {}
  template <typename... Values> void printf(const char *format, Values... values) {
    std::printf(format, values...);
    std::fflush(stdout);
  }
  void println(const char *text) { printf("%s\n", text); }
};
inline SerialPort Serial;
