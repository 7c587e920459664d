#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <netdb.h>

#include "transport/address.h"

static void good_urls_resolve(void **state) {
  (void)state;
  static const struct {
    const char *url, *address;
  } rows[] = {
      {"tcp://127.0.0.1:1884", "127.0.0.1:1884"},
      {"mqtt://127.0.0.1", "127.0.0.1:1883"},
      {"tcp://127.0.0.1", "127.0.0.1:1883"},
      {"tcp://127.0.0.1:0", "127.0.0.1:0"},
      {"tcp://127.0.0.1:65535", "127.0.0.1:65535"},
      {"tcp://[::1]:7", "[::1]:7"},
      {"mqtt://[::1]", "[::1]:1883"},
      {"tcp://0.0.0.0:1", "0.0.0.0:1"},
      {"tcp://[::ffff:192.0.2.1]:1", "192.0.2.1:1"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    struct addrinfo *list = NULL;
    assert_null(address_resolve(rows[i].url, &list));
    assert_non_null(list);
    struct address a;
    char text[ADDRESS_TEXT_MAX];
    address_from(&a, list->ai_addr);
    assert_string_equal(address_format(&a, text), rows[i].address);
    freeaddrinfo(list);
  }
}

static void bad_urls_are_refused_with_a_reason(void **state) {
  (void)state;
  static const char *const urls[] = {"",
                                     "127.0.0.1:1883",
                                     "http://127.0.0.1:1",
                                     "tcp:/127.0.0.1:1",
                                     "TCP://127.0.0.1:1",
                                     "tcp://",
                                     "tcp://:1883",
                                     "tcp://127.0.0.1:",
                                     "tcp://127.0.0.1:65536",
                                     "tcp://127.0.0.1:99999999999999999999",
                                     "tcp://127.0.0.1:1x",
                                     "tcp://127.0.0.1:-1",
                                     "tcp://127.0.0.1:+1",
                                     "tcp://127.0.0.1: 1",
                                     "tcp://127.0.0.1:1/path",
                                     "tcp://::1:1883",
                                     "tcp://[::1",
                                     "tcp://[::1]x",
                                     "tcp://[::1]x:1",
                                     "tcp://[]:1"};
  for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
    struct addrinfo *list = NULL;
    const char *error = address_resolve(urls[i], &list);
    if (!error) fail_msg("%s was taken", urls[i]);
    assert_true(strlen(error) > 0);
    assert_null(list);
  }
  char url[1000] = "tcp://";
  memset(url + 6, 'a', 900);
  strcpy(url + 906, ":1");
  struct addrinfo *list = NULL;
  assert_non_null(address_resolve(url, &list));
}

static void loopback_is_known(void **state) {
  (void)state;
  static const struct {
    const char *url;
    bool loopback;
  } rows[] = {{"tcp://127.0.0.1:1", true},
              {"tcp://127.8.9.1:1", true},
              {"tcp://128.0.0.1:1", false},
              {"tcp://[::1]:1", true},
              {"tcp://[::2]:1", false},
              {"tcp://0.0.0.0:1", false},
              {"tcp://[::ffff:127.0.0.1]:1", true},
              {"tcp://[::ffff:128.0.0.1]:1", false}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    struct addrinfo *list = NULL;
    struct address a;
    assert_null(address_resolve(rows[i].url, &list));
    address_from(&a, list->ai_addr);
    assert_int_equal(address_is_loopback(&a), rows[i].loopback);
    freeaddrinfo(list);
  }
  char text[ADDRESS_TEXT_MAX];
  assert_string_equal(address_format(&(struct address){.family = AF_UNSPEC}, text), "memory");
  assert_string_equal(address_format(&(struct address){.family = AF_UNIX}, text), "unix");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(good_urls_resolve),
      cmocka_unit_test(bad_urls_are_refused_with_a_reason),
      cmocka_unit_test(loopback_is_known),
  };
  return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
