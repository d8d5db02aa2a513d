// A stand-in of ESP-IDF's MQTT client, as far as the sketch uses it, on libmosquitto. Like the real one
// it calls the handler in a thread of its own, and gives a long message in several events of at most
// 1024 bytes (`buffer.size`), each with the offset of its part.
#pragma once
#include <mosquitto.h>

#include <cstdlib>
#include <cstring>
#include <string>

typedef int esp_err_t;
typedef const char *esp_event_base_t;
enum esp_mqtt_event_id_t { MQTT_EVENT_ANY = -1, MQTT_EVENT_CONNECTED = 1, MQTT_EVENT_DISCONNECTED, MQTT_EVENT_SUBSCRIBED, MQTT_EVENT_DATA };
#define ESP_EVENT_ANY_ID MQTT_EVENT_ANY

struct esp_mqtt_client;
typedef esp_mqtt_client *esp_mqtt_client_handle_t;
struct esp_mqtt_event_t {
  esp_mqtt_event_id_t event_id;
  esp_mqtt_client_handle_t client;
  char *data;
  int data_len;
  int total_data_len;
  int current_data_offset;
};
typedef esp_mqtt_event_t *esp_mqtt_event_handle_t;
typedef void (*esp_event_handler_t)(void *, esp_event_base_t, int32_t, void *);

struct esp_mqtt_client_config_t {
  struct { struct { const char *uri; } address; struct { const char *certificate; } verification; } broker;
  struct {
    const char *username; const char *client_id;
    struct { const char *password; const char *certificate; const char *key; } authentication;
  } credentials;
};

struct esp_mqtt_client {
  mosquitto *link = nullptr;
  esp_mqtt_client_config_t config = {};
  esp_event_handler_t handler = nullptr;
  void *context = nullptr;

  void tell(esp_mqtt_event_id_t id, char *data = nullptr, int length = 0, int total = 0, int offset = 0) {
    esp_mqtt_event_t event = {id, this, data, length, total, offset};
    handler(context, "MQTT_EVENTS", id, &event);
  }
};

inline esp_mqtt_client_handle_t esp_mqtt_client_init(const esp_mqtt_client_config_t *config) {
  mosquitto_lib_init();
  auto *client = new esp_mqtt_client;
  client->config = *config;
  client->link = mosquitto_new(config->credentials.client_id, true, client);
  mosquitto_int_option(client->link, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V311);
  mosquitto_connect_callback_set(client->link, [](mosquitto *, void *self, int code) {
    if (code == 0) static_cast<esp_mqtt_client *>(self)->tell(MQTT_EVENT_CONNECTED);
  });
  mosquitto_disconnect_callback_set(client->link, [](mosquitto *, void *self, int) {
    static_cast<esp_mqtt_client *>(self)->tell(MQTT_EVENT_DISCONNECTED);
  });
  mosquitto_subscribe_callback_set(client->link, [](mosquitto *, void *self, int, int, const int *) {
    static_cast<esp_mqtt_client *>(self)->tell(MQTT_EVENT_SUBSCRIBED);
  });
  mosquitto_message_callback_set(client->link, [](mosquitto *, void *self, const mosquitto_message *message) {
    auto *bytes = static_cast<char *>(message->payload);
    for (int at = 0; at < message->payloadlen; at += 1024) {
      int part = message->payloadlen - at < 1024 ? message->payloadlen - at : 1024;
      static_cast<esp_mqtt_client *>(self)->tell(MQTT_EVENT_DATA, bytes + at, part, message->payloadlen, at);
    }
  });
  return client;
}
inline esp_err_t esp_mqtt_client_register_event(esp_mqtt_client_handle_t client, esp_mqtt_event_id_t,
                                                esp_event_handler_t handler, void *context) {
  client->handler = handler;
  client->context = context;
  return 0;
}
inline esp_err_t esp_mqtt_client_start(esp_mqtt_client_handle_t client) {
  std::string uri = client->config.broker.address.uri;  // mqtt://HOST:PORT
  auto host = uri.substr(uri.find("//") + 2);
  auto colon = host.find(':');
  int port = colon == std::string::npos ? 1883 : std::atoi(host.c_str() + colon + 1);
  mosquitto_connect_async(client->link, host.substr(0, colon).c_str(), port, 60);
  return mosquitto_loop_start(client->link);
}
inline int esp_mqtt_client_subscribe(esp_mqtt_client_handle_t client, const char *topic, int qos) {
  return mosquitto_subscribe(client->link, nullptr, topic, qos);
}
inline int esp_mqtt_client_enqueue(esp_mqtt_client_handle_t client, const char *topic, const char *data,
                                   int length, int qos, int retain, bool) {
  int id = 0;
  mosquitto_publish(client->link, &id, topic, length ? length : std::strlen(data), data, qos, retain);
  return id;
}
