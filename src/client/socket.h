// An MQTT client over a TCP or unix socket, with TLS and WebSocket when told, for programs that wait for one
// thing at a time. Every wait has a deadline, a time of mqtt_socket_now; pings are sent and answers to them
// are missed in the course of a wait.
//
//   struct mqtt_socket s;
//   mqtt_socket_init(&s, &options);
//   s.tls = tls;                                    // or NULL; likewise s.websocket
//   uint64_t deadline = mqtt_socket_now() + 5000;
//   struct mqtt_client_event e;
//   if (mqtt_socket_open(&s, "localhost", 1883, deadline)) {
//     mqtt_client_connect(&s.client);
//     while (mqtt_socket_next(&s, deadline, &e) == MQTT_SOCKET_EVENT) ...
//   }
//   mqtt_socket_release(&s);                        // s.error has told why it ended
#ifndef LUAMQ_CLIENT_SOCKET_H
#define LUAMQ_CLIENT_SOCKET_H

#include "client/client.h"
#include "client/stream.h"

#define MQTT_SOCKET_FOREVER UINT64_MAX

enum mqtt_socket_result {
  MQTT_SOCKET_EVENT,   // or a packet
  MQTT_SOCKET_TIMEOUT, // the deadline has passed
  MQTT_SOCKET_WATCHED, // watch_fd is readable
  MQTT_SOCKET_CLOSED,  // `error` says why
};

struct mqtt_socket {
  struct mqtt_client client;
  struct stream stream;
  const struct tls_client *tls;              // borrowed; NULL: none
  const struct ws_client_options *websocket; // borrowed, as stream.h says; NULL: none
  int fd;                                    // -1: closed
  int watch_fd;                              // borrowed, ends a wait when it is readable; -1: none
  uint64_t keep_alive_ms;                    // since CONNACK; 0: off
  uint64_t sent_ms;                          // when bytes were last sent
  uint64_t pinged_ms;                        // when the ping was sent that has no answer yet; 0: none
  bool broken;                               // sending failed: what comes in is read to its end
  char error[336];                           // "connection closed", ...; empty before
};

uint64_t mqtt_socket_now(void); // milliseconds since some moment

void mqtt_socket_init(struct mqtt_socket *s, const struct mqtt_client_options *options);
void mqtt_socket_release(struct mqtt_socket *s); // closes it as mqtt_socket_close

// Connects to the first address of `host` that accepts, and shakes hands there; resolving a name may take
// longer than the deadline. False, with `error` set: it is closed. May be called again after an end, with the
// client's messages in flight kept.
bool mqtt_socket_open(struct mqtt_socket *s, const char *host, uint16_t port, uint64_t deadline_ms);
// The same over the unix socket at `path`, as it is: without TLS and WebSocket.
bool mqtt_socket_open_unix(struct mqtt_socket *s, const char *path, uint64_t deadline_ms);

// Sends what is to be sent and waits for the next event. A deadline in the past waits for nothing, but takes
// what is there. MQTT_CLIENT_ERROR is no event here: it closes. MQTT_CLIENT_DISCONNECTED is the last event,
// and has closed.
enum mqtt_socket_result mqtt_socket_next(struct mqtt_socket *s, uint64_t deadline_ms,
                                         struct mqtt_client_event *e);
// The same for packets as they are, see mqtt_client_next_packet. Never answers anything.
enum mqtt_socket_result mqtt_socket_next_packet(struct mqtt_socket *s, uint64_t deadline_ms,
                                                struct packet *p);
// Sends all that is to be sent: MQTT_SOCKET_EVENT when it has gone. What comes in meanwhile is kept for
// later.
enum mqtt_socket_result mqtt_socket_flush(struct mqtt_socket *s, uint64_t deadline_ms);

// DISCONNECT, unless it was sent; waits until the server has closed, so that it has read everything, and
// closes.
void mqtt_socket_disconnect(struct mqtt_socket *s, uint64_t deadline_ms);
// Ends the connection without a word: the will is sent.
void mqtt_socket_close(struct mqtt_socket *s);

#endif
