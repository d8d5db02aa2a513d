// A stand-in: the network is there.
#pragma once
#define WL_CONNECTED 3
struct WiFiNetwork {
  void begin(const char *, const char *) {}
  int status() { return WL_CONNECTED; }
};
inline WiFiNetwork WiFi;
